//! Sockets that whoever started the process has opened before, as systemd does for a socket unit: sd_listen_fds(3). Connections
//! queue there while a process ends and the next one starts, so that nobody is refused.
//!
//! A socket is known by its address: a listener that is to have this address takes it instead of making one.
#![allow(clippy::disallowed_types, reason = "sockets for the edge adapters, which a simulator does not own")]

use std::{
    net::{SocketAddr, TcpListener},
    sync::Mutex,
};

use listenfd::ListenFd;

static INHERITED: Mutex<Vec<(SocketAddr, TcpListener)>> = Mutex::new(Vec::new());

/// Takes what was handed over. To be called once, before there are threads: the variables that say so are removed.
///
/// # Errors
/// One that is no TCP socket; nobody would listen on it.
pub fn inherit_listeners() -> std::io::Result<()> {
    let mut handed_over = ListenFd::from_env();
    for index in 0..handed_over.len() {
        if let Some(listener) = handed_over.take_tcp_listener(index)? {
            let address = listener.local_addr()?;
            INHERITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((address, listener));
        }
    }
    Ok(())
}

/// The socket that was handed over with this address, once.
#[must_use]
pub fn inherited_listener(address: SocketAddr) -> Option<TcpListener> {
    let mut inherited = INHERITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let index = inherited.iter().position(|(there, _)| *there == address)?;
    Some(inherited.swap_remove(index).1)
}

/// Where sockets were handed over that no listener has taken.
#[must_use]
pub fn left_over_listeners() -> Vec<SocketAddr> {
    let inherited = INHERITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    inherited.iter().map(|(address, _)| *address).collect()
}
