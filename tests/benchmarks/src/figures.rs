use std::time::Duration;

/// Median, least and greatest of a few rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// Of at least one figure.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self { median: median(&figures), least: figures[0], greatest: figures[figures.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.2} ({:.2} – {:.2})", self.median, self.least, self.greatest)
    }
}

/// Of figures in ascending order.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) { f64::midpoint(figures[middle - 1], figures[middle]) } else { figures[middle] }
}

/// The `share` quantile of latencies in ascending order, in microseconds.
#[must_use]
pub fn quantile(latencies: &[Duration], share: f64) -> f64 {
    let last = latencies.len().saturating_sub(1);
    let index = ((latencies.len() as f64 * share) as usize).min(last);
    latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}
