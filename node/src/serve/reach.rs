use std::time::Duration;

use futures_util::future::{Either, select};
use runtime::{Runtime, Shutdown};

use super::{checks::Checks, role::Role};
use crate::error::chain;

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Attempts between two lines in the log about the same thing, once it is known.
const SAY_EVERY: u32 = 12;

/// What a role needs and does not have yet.
pub(super) struct Needed {
    what: &'static str,
    /// As `/readyz` calls it.
    check: String,
    checks: Checks,
}

impl Needed {
    /// Counts as missing from now on: before its role runs, since one that nobody has missed yet would be called ready.
    pub(super) fn new(role: Role, what: &'static str, checks: &Checks) -> Self {
        let check = format!("{what} is reached by the {}", role.name());
        checks.note(&*check, false);
        Self { what, check, checks: checks.clone() }
    }

    /// Tries until it works, however long that takes; `None` once `shutdown` is asked for.
    pub(super) async fn reach<T, E, F>(
        self,
        runtime: &Runtime,
        shutdown: &Shutdown,
        mut attempt: impl FnMut() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error + 'static,
    {
        let (mut pause, mut failures) = (PAUSE_FIRST, 0);
        loop {
            let attempted = {
                let (ended, attempt) = (std::pin::pin!(shutdown.requested()), std::pin::pin!(attempt()));
                match select(ended, attempt).await {
                    Either::Left(_) => return None,
                    Either::Right((attempted, _)) => attempted,
                }
            };
            match attempted {
                Ok(reached) => {
                    self.checks.note(self.check, true);
                    tracing::info!(dependency = self.what, "reached");
                    return Some(reached);
                }
                Err(error) => {
                    if failures % SAY_EVERY == 0 {
                        tracing::warn!(dependency = self.what, error = %chain(&error), "not reached: trying again");
                    }
                    failures += 1;
                }
            }
            select(std::pin::pin!(shutdown.requested()), runtime.sleep(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
