//! What the service manager is told, systemd or another that speaks its protocol: sd_notify(3). Where there is none, nothing.

use std::{sync::Arc, time::Duration};

use runtime::Runtime;
use sd_notify::NotifyState;

use crate::admin::Operated;

/// How often it is looked whether what is said is still so.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says which sockets were handed over for nothing, that the listeners are open, and from then on what is still missing and, where a watchdog asks for it, that tasks run.
///
/// A process whose threads are all stuck cannot send the latter: it is sent by a task like those that do the work.
pub(crate) fn inform(runtime: &Runtime, operated: Arc<dyn Operated>) {
    for address in runtime::left_over_listeners() {
        tracing::warn!(address = %address, "a socket was handed over, and no listener is set to have its address");
    }
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let mut said = status(&operated.readiness());
    tell(&[NotifyState::Ready, NotifyState::Status(&said)]);
    let clock = runtime.clone();
    runtime.spawn("service manager", async move {
        let pause = pause(watchdog);
        loop {
            let now = status(&operated.readiness());
            if now != said {
                tell(&[NotifyState::Status(&now)]);
                said = now;
            }
            if watchdog.is_some() {
                tell(&[NotifyState::Watchdog]);
            }
            clock.sleep(pause).await;
        }
    });
}

/// Says that the process is going to end. It goes on telling what it did before.
pub(crate) fn ending() {
    tell(&[NotifyState::Stopping]);
}

/// Three times within what a watchdog grants: one that is late because the machine is busy must not be the last.
fn pause(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(LOOK_EVERY, |granted| LOOK_EVERY.min(granted / 3))
}

/// What `/readyz` says, on one line.
fn status(readiness: &[(String, bool)]) -> String {
    let missing: Vec<&str> = readiness.iter().filter(|(_, passed)| !passed).map(|(check, _)| check.as_str()).collect();
    if missing.is_empty() { "ready".to_owned() } else { format!("not yet so: {}", missing.join("; ")) }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = %error, "the service manager cannot be told how this process is: see NOTIFY_SOCKET");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_on_one_line() {
        let check = |name: &str, passed| (name.to_owned(), passed);
        for (readiness, said) in [
            (vec![check("not draining", true), check("a log is reached", true)], "ready"),
            (vec![check("not draining", true), check("a log is reached", false)], "not yet so: a log is reached"),
            (vec![check("not draining", false), check("a log", false)], "not yet so: not draining; a log"),
        ] {
            assert_eq!(status(&readiness), said);
        }
    }

    #[test]
    fn a_watchdog_hears_more_often_than_it_asks_for() {
        let millis = Duration::from_millis;
        for (granted, paused) in [(None, 1000), (Some(millis(30_000)), 1000), (Some(millis(600)), 200)] {
            assert_eq!(pause(granted), millis(paused), "{granted:?}");
        }
    }
}
