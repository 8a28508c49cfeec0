use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// A loopback port that nobody listens on at the moment. Somebody else may take it first: whoever uses it tries another then.
pub(crate) fn free() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until somebody accepts connections there; `false` when `is_alive` says that nobody ever will, or time is up.
pub(crate) fn wait(port: u16, span: Duration, mut is_alive: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < span && is_alive() {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
