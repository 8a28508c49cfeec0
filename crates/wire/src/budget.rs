//! How many requests may be sent again: a tenth of all, so that those who fail cannot double the load on those who do not.

use std::time::Duration;

use parking_lot::Mutex;

/// A bucket of repetitions. Each request adds a tenth of one; a second adds one, for callers that ask seldom.
#[derive(Debug)]
pub struct Budget {
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// In tenths of a repetition.
    tenths: u64,
    /// Up to when the seconds were counted.
    counted: Duration,
}

/// What one repetition takes, in tenths.
const REPETITION: u64 = 10;
/// Most repetitions at once, which are those of a thousand requests.
const REPETITIONS_MAX: u64 = 100;
/// Repetitions that are there at the start.
const REPETITIONS_FIRST: u64 = 10;

impl Budget {
    /// A budget that begins at `now`.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { bucket: Mutex::new(Bucket { tenths: REPETITIONS_FIRST * REPETITION, counted: now }) }
    }

    /// Notes a request.
    pub fn earn(&self) {
        self.bucket.lock().add(1);
    }

    /// Takes one repetition, if there is one.
    #[must_use]
    pub fn spend(&self, now: Duration) -> bool {
        let mut bucket = self.bucket.lock();
        let seconds = now.saturating_sub(bucket.counted).as_secs();
        bucket.counted += Duration::from_secs(seconds);
        bucket.add(seconds.saturating_mul(REPETITION));
        let is_left = bucket.tenths >= REPETITION;
        if is_left {
            bucket.tenths -= REPETITION;
        }
        is_left
    }
}

impl Bucket {
    fn add(&mut self, tenths: u64) {
        self.tenths = self.tenths.saturating_add(tenths).min(REPETITIONS_MAX * REPETITION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, now: Duration) -> usize {
        (0..1000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn a_tenth_of_the_requests_may_be_sent_again() {
        let (budget, now) = (Budget::new(Duration::ZERO), Duration::from_millis(999));
        assert_eq!(spent(&budget, now), 10, "what is there at the start");
        for (requests, repetitions) in [(9, 0), (1, 1), (25, 2), (500, 50), (5, 1), (100_000, 100)] {
            (0..requests).for_each(|_| budget.earn());
            assert_eq!(spent(&budget, now), repetitions, "after {requests} requests");
        }
    }

    #[test]
    fn those_who_ask_seldom_have_one_a_second() {
        let budget = Budget::new(Duration::from_secs(7));
        let mut now = Duration::from_secs(7);
        spent(&budget, now);
        for (milliseconds, repetitions) in [(999, 0), (1, 1), (1500, 1), (500, 1), (3_600_000, 100)] {
            now += Duration::from_millis(milliseconds);
            assert_eq!(spent(&budget, now), repetitions, "after {milliseconds} ms more");
        }
    }

    #[test]
    fn while_everything_fails_no_more_than_a_tenth_is_added() {
        let budget = Budget::new(Duration::ZERO);
        let repeated = (0..10_000)
            .filter(|_| {
                budget.earn();
                budget.spend(Duration::ZERO)
            })
            .count();
        assert!((1000..=1010).contains(&repeated), "{repeated} of 10000");
    }
}
