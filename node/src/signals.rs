//! How a process is told to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::systemd;

/// What a process exits with that a second signal has ended.
const INTERRUPTED: i32 = 130;

/// SIGTERM and SIGINT, listened for from now on.
struct Signals(Signal, Signal);

impl Signals {
    fn listen() -> Option<Self> {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (Ok(terminate), Ok(interrupt)) = signals else {
            tracing::error!("the system gives no signals: the process can only be killed, which loses nothing");
            return None;
        };
        Some(Self(terminate, interrupt))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Waits for SIGTERM or SIGINT, and then for `stop`; a second signal ends the process at once.
///
/// Signals are listened for from the call on, not only from the first poll.
pub(crate) fn until_signal<F: Future<Output = ()>>(stop: impl FnOnce() -> F) -> impl Future<Output = ()> {
    let signals = Signals::listen();
    async move {
        let Some(mut signals) = signals else { return std::future::pending().await };
        signals.next().await;
        systemd::ending();
        tracing::info!("draining; a second signal ends the process at once");
        tokio::select! {
            () = stop() => {}
            () = signals.next() => std::process::exit(INTERRUPTED),
        }
    }
}

/// Calls `note` at the first signal; a second one ends the process at once. As [`until_signal`].
pub(crate) fn note_signal(note: impl FnOnce()) -> impl Future<Output = ()> {
    let signals = Signals::listen();
    async move {
        let Some(mut signals) = signals else { return };
        signals.next().await;
        note();
        signals.next().await;
        std::process::exit(INTERRUPTED);
    }
}
