use std::time::Duration;

use futures_util::future::{Either, select};
use runtime::{Runtime, Shutdown};

use super::{checks::Checks, role::Role};
use crate::error::chain;

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Attempts between two lines in the log about the same thing, once it is known.
const SAY_EVERY: u32 = 12;

/// Tries until it works, however long that takes; `None` once `shutdown` is asked for. `what` is what `/readyz` calls it.
pub(super) async fn reach<T, E, F>(
    role: Role,
    what: &str,
    runtime: &Runtime,
    checks: &Checks,
    shutdown: &Shutdown,
    mut attempt: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T, E>>,
    E: std::error::Error + 'static,
{
    let check = format!("{what} is reached by the {}", role.name());
    checks.note(&*check, false);
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
                checks.note(check, true);
                tracing::info!(dependency = what, "reached");
                return Some(reached);
            }
            Err(error) => {
                if failures % SAY_EVERY == 0 {
                    tracing::warn!(dependency = what, error = %chain(&error), "not reached: trying again");
                }
                failures += 1;
            }
        }
        select(std::pin::pin!(shutdown.requested()), runtime.sleep(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
