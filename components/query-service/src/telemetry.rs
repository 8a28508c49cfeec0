//! Names, help and labels of this box's metrics, and the names of its spans.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// The target of the spans that show the twelve hops of a request.
pub(crate) const HOP: &str = "diptych::hop";
/// `diptych.box` of this box's spans.
pub(crate) const BOX: &str = "query-service";

type Durations<const N: usize> = Family<[(&'static str, String); N], Histogram, fn() -> Histogram>;

/// The metrics of all query services of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    queries: Durations<1>,
    waits: Durations<2>,
    pub(crate) rows_damaged: Counter,
}

impl Metrics {
    /// Registers them in `registry`, once a process.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let queries: Durations<1> = Family::new_with_constructor(histogram);
        let waits: Durations<2> = Family::new_with_constructor(histogram);
        registry.register_with_unit(
            "diptych_query_service_query_duration",
            "From a query to its outcome, waiting included",
            Unit::Seconds,
            queries.clone(),
        );
        registry.register_with_unit(
            "diptych_query_service_consistency_wait",
            "How long queries waited for their consistency token",
            Unit::Seconds,
            waits.clone(),
        );
        let rows_damaged = Counter::default();
        registry.register(
            "diptych_query_service_rows_damaged",
            "Queries that failed because a stored row is not what was written",
            rows_damaged.clone(),
        );
        Self { queries, waits, rows_damaged }
    }

    /// Those of one read model, looked up once.
    pub(crate) fn of(&self, read_model: &str) -> ReadModelMetrics {
        let wait = |outcome: &str| {
            let labels = [("read_model", read_model.to_owned()), ("outcome", outcome.to_owned())];
            self.waits.get_or_create(&labels).clone()
        };
        let duration = self.queries.get_or_create(&[("read_model", read_model.to_owned())]).clone();
        ReadModelMetrics { duration, reached: wait("reached"), late: wait("late") }
    }
}

/// The metrics of one read model.
pub(crate) struct ReadModelMetrics {
    pub(crate) duration: Histogram,
    /// Waits that ended with the token reached.
    pub(crate) reached: Histogram,
    /// Waits that ended without.
    pub(crate) late: Histogram,
}

fn histogram() -> Histogram {
    Histogram::new([
        0.000_01, 0.000_025, 0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0,
    ])
}
