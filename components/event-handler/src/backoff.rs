//! Pauses between attempts: longer each time up to a cap, and never quite the same for two who fail together.

use std::time::Duration;

use runtime::Runtime;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(5);

pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Half of it is certain, half of it chance.
    pub(crate) fn pause(&mut self, runtime: &Runtime) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(LONGEST);
        half + jitter(runtime, half)
    }
}

/// Anything from nothing to `most`.
pub(crate) fn jitter(runtime: &Runtime, most: Duration) -> Duration {
    let microseconds = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(runtime.random_u64() % (microseconds + 1))
}
