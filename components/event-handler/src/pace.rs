//! How many events one commit takes: all there are while a projection keeps up, no more than a span's worth while it is filled.

use std::time::Duration;

const AT_FIRST: usize = 256;
const AT_LEAST: usize = 16;

pub(crate) struct Pace {
    events_max: usize,
    now_max: usize,
    filling: bool,
}

impl Pace {
    pub(crate) fn new(events_max: usize) -> Self {
        Self { events_max, now_max: AT_FIRST.min(events_max), filling: false }
    }

    pub(crate) fn events_max(&self) -> usize {
        if self.filling { self.now_max } else { self.events_max }
    }

    pub(crate) fn filling(&mut self) {
        self.filling = true;
    }

    pub(crate) fn level(&mut self) {
        self.filling = false;
    }

    /// A commit of `events` took `span`: the next one is made to take `target`, at most twice as many events at once.
    pub(crate) fn took(&mut self, events: usize, span: Duration, target: Duration) {
        let fitting = events as f64 * target.as_secs_f64() / span.as_secs_f64().max(1e-6);
        let most = (self.now_max * 2).min(self.events_max);
        // Only a batch that was as large as allowed says anything about a larger one.
        if self.filling && (events >= self.now_max || fitting < self.now_max as f64) {
            self.now_max = (fitting as usize).clamp(AT_LEAST.min(most), most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_grows_until_it_takes_its_span_and_shrinks_when_it_takes_longer() {
        let target = Duration::from_millis(20);
        let mut pace = Pace::new(4096);
        pace.filling();
        for _ in 0..10 {
            let events = pace.events_max();
            pace.took(events, Duration::from_micros(10) * u32::try_from(events).expect("few"), target);
        }
        assert_eq!(pace.events_max(), 2000);
        pace.took(2000, Duration::from_millis(40), target);
        assert_eq!(pace.events_max(), 1000);
    }

    #[test]
    fn a_projection_that_keeps_up_takes_all_there_is() {
        let mut pace = Pace::new(4096);
        pace.took(10, Duration::from_secs(1), Duration::from_millis(20));
        assert_eq!(pace.events_max(), 4096);
    }
}
