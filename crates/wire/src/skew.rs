//! How far another clock is from ours: a process's, as far as the `Date` of its answers tells, or that of whoever else is asked.

use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// From here on somebody is told. Nothing goes by two clocks but the times that people read.
const TOLD_FROM: SignedDuration = SignedDuration::from_secs(5);

/// How far a peer's clock was ahead of ours when that was last looked at; behind is negative.
#[derive(Debug, Default)]
pub struct Skew(Mutex<Option<SignedDuration>>);

impl Skew {
    /// `None` where nobody could look yet.
    #[must_use]
    pub fn get(&self) -> Option<SignedDuration> {
        *self.0.lock()
    }

    /// Notes what was seen. Five seconds or more are said in the log, once until there are less again.
    pub fn note(&self, peer: impl Display, ahead: SignedDuration) {
        let before = self.0.lock().replace(ahead);
        if is_told(before, ahead) {
            let seconds = ahead.as_secs_f64();
            tracing::warn!(%peer, skew.seconds = seconds, "clocks disagree: times that people read are off");
        }
    }
}

fn is_told(before: Option<SignedDuration>, now: SignedDuration) -> bool {
    let is_far = |skew: SignedDuration| skew.abs() >= TOLD_FROM;
    is_far(now) && !before.is_some_and(is_far)
}

/// The least that another clock must be ahead of ours, negative where it is behind, if it said `date` between `asked` and
/// `answered`. A date is cut to the second (RFC 9110, section 5.6.7), so that clocks less than a second apart may seem to agree.
pub(crate) fn least(date: &str, asked: Timestamp, answered: Timestamp) -> Option<SignedDuration> {
    let from = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let to = from.checked_add(SignedDuration::from_secs(1)).ok()?;
    let (ahead, behind) = (from.duration_since(answered), to.duration_since(asked));
    Some(if ahead.is_positive() { ahead } else { behind.min(SignedDuration::ZERO) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_told_of_once() {
        let seconds = SignedDuration::from_secs;
        for (before, now, told) in [
            (None, 0, false),
            (None, 5, true),
            (None, -5, true),
            (Some(4), 4, false),
            (Some(4), -7, true),
            (Some(5), 6, false),
            (Some(-9), 9, false),
            (Some(9), -4, false),
        ] {
            assert_eq!(is_told(before.map(seconds), seconds(now)), told, "{now} after {before:?}");
        }
    }

    #[test]
    fn a_clock_is_as_far_off_as_its_date_proves() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (asked, answered) = (at("2026-11-26T23:52:45.300Z"), at("2026-11-26T23:52:45.400Z"));
        for (date, seconds) in [
            ("Thu, 26 Nov 2026 23:52:45 GMT", Some(0.0)),
            ("Thu, 26 Nov 2026 23:52:44 GMT", Some(-0.3)),
            ("Thu, 26 Nov 2026 23:52:46 GMT", Some(0.6)),
            ("Thu, 26 Nov 2026 22:52:45 GMT", Some(-3599.3)),
            ("Fri, 27 Nov 2026 23:52:45 GMT", Some(86_399.6)),
            ("yesterday", None),
        ] {
            let told = least(date, asked, answered).map(|skew| skew.as_millis());
            assert_eq!(told, seconds.map(|seconds: f64| (seconds * 1000.0).round() as i128), "{date}");
        }
    }
}
