//! How a process is told to end.

use tokio::signal::unix::{SignalKind, signal};

use crate::systemd;

/// Waits for SIGTERM or SIGINT, and then for `stop`; a second signal ends the process at once.
///
/// Signals are listened for from the call on, not only from the first poll.
pub(crate) fn until_signal<F: Future<Output = ()>>(stop: impl FnOnce() -> F) -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("the system gives no signals: the process can only be killed, which loses nothing");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        systemd::ending();
        tracing::info!("draining; a second signal ends the process at once");
        tokio::select! {
            () = stop() => {}
            _ = terminate.recv() => std::process::exit(130),
            _ = interrupt.recv() => std::process::exit(130),
        }
    }
}
