use std::time::{Duration, Instant};

/// The smallest of `values` that `percent` of them do not exceed; nothing of nothing.
pub(crate) fn percentile(mut values: Vec<Duration>, percent: usize) -> Duration {
    values.sort_unstable();
    let place = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(place).copied().unwrap_or_default()
}

/// The median, over five windows of equal length between two moments, of what `measure` says of each.
pub(crate) fn median_of_windows(
    from: Instant,
    to: Instant,
    measure: impl Fn(Instant, Instant) -> Duration,
) -> Duration {
    const WINDOWS: u32 = 5;
    let length = to.saturating_duration_since(from) / WINDOWS;
    let measured = (0..WINDOWS).map(|window| measure(from + length * window, from + length * (window + 1)));
    percentile(measured.collect(), 50)
}

/// Milliseconds, for a table.
pub(crate) fn milliseconds(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

/// Seconds, for a table.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values_and_not_exceeded_by_its_share() {
        let values = |count: u64| (1..=count).rev().map(Duration::from_millis).collect::<Vec<_>>();
        for (count, percent, expected) in
            [(0, 99, 0), (1, 99, 1), (100, 99, 99), (200, 99, 198), (4, 50, 2), (5, 50, 3)]
        {
            assert_eq!(percentile(values(count), percent), Duration::from_millis(expected), "{percent} of {count}");
        }
    }

    #[test]
    fn one_bad_window_of_five_does_not_move_the_median() {
        let began = Instant::now();
        let bad = |from: Instant, _| Duration::from_millis(if from == began { 900 } else { 3 });
        assert_eq!(median_of_windows(began, began + Duration::from_secs(10), bad), Duration::from_millis(3));
    }
}
