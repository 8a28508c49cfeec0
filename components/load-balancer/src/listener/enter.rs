use std::{future::poll_fn, task::Poll};

use tokio::net::TcpStream;
use wire::{ServerTls, Stream};

use super::watch::Watch;
use crate::{LoadBalancer, telemetry::Policy};

/// A connection on which HTTP may be spoken; `None` where its handshake failed, or the listener closes meanwhile.
pub(super) async fn enter(
    socket: TcpStream,
    tls: Option<ServerTls>,
    watch: &Watch,
    load_balancer: &LoadBalancer,
) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Stream::Plain(socket)) };
    let closing = poll_fn(|context| {
        watch.belongs_to(context.waker());
        if watch.is_closing() { Poll::Ready(()) } else { Poll::Pending }
    });
    let handshake = tokio::select! {
        handshake = tls.handshake(socket, load_balancer.runtime()) => handshake,
        () = closing => return None,
    };
    if let Err(error) = &handshake {
        tracing::debug!(error = error as &dyn std::error::Error, "a handshake failed");
        load_balancer.limited(Policy::Handshake);
    }
    handshake.ok()
}
