//! How far another process's clock is from ours, as far as the `Date` of its answers tells.

use jiff::{SignedDuration, Timestamp};

/// From here on somebody is told. Nothing goes by the clocks of two processes but the times that people read.
pub(crate) const TOLD_FROM: SignedDuration = SignedDuration::from_secs(5);

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
