//! A token bucket over the runtime's clock.

use std::time::Duration;

/// Lets `per_second` through each second on average, and a tenth of that at once.
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, now: Duration) -> Self {
        let per_second = f64::from(per_second.max(1));
        let burst = (per_second / 10.0).max(1.0);
        Self { per_second, burst, tokens: burst, filled_at: now }
    }

    /// Takes a token; how long to wait where there is none yet.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let gained = now.saturating_sub(self.filled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // Rounded up to a microsecond, so that the token is there when the wait is over.
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second) + Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_through_and_no_more() {
        let mut bucket = Bucket::new(100, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut taken = 0;
        while now < Duration::from_secs(2) {
            match bucket.take(now) {
                Ok(()) => taken += 1,
                Err(wait) => now += wait,
            }
        }
        assert!((205..=212).contains(&taken), "{taken} in two seconds at 100 a second and a burst of 10");
    }
}
