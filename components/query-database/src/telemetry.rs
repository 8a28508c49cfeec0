//! Names, units and help of this box's metrics, and the span of its hops.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tracing::Span;

/// The rows of which read model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfReadModel {
    pub(crate) read_model: Arc<str>,
}

/// This box's metrics. Clones count into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    pub(crate) commit_duration: Histogram,
    pub(crate) flush_duration: Histogram,
    pub(crate) rows_flushed: Counter,
    pub(crate) rows_written: Family<OfReadModel, Counter>,
    pub(crate) fenced: Counter,
    pub(crate) memtable_bytes: Gauge,
}

/// From 1 µs on, doubling, up to 0.3 s: most are a change in memory, some wait for the file.
fn commit_duration() -> Histogram {
    Histogram::new(exponential_buckets(0.000_001, 2.0, 19))
}

/// From 0.1 ms on, doubling, up to 3.3 s.
fn flush_duration() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 16))
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        Self {
            commit_duration: commit_duration(),
            flush_duration: flush_duration(),
            rows_flushed: Counter::default(),
            rows_written: Family::default(),
            fenced: Counter::default(),
            memtable_bytes: Gauge::default(),
        }
    }

    /// Under the names that operators see: `_total` is added to counters when they are shown.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.register_commits(registry);
        registry.register(
            "diptych_query_database_flush_duration_seconds",
            "Time for writing rows and their checkpoints from memory into the file",
            self.flush_duration.clone(),
        );
        registry.register(
            "diptych_query_database_rows_flushed",
            "Rows written into the file: less than those put or deleted, where one is touched several times",
            self.rows_flushed.clone(),
        );
        registry.register(
            "diptych_query_database_memtable_bytes",
            "Committed rows that are not in the file yet, roughly",
            self.memtable_bytes.clone(),
        );
    }

    /// Those that every engine has.
    pub(crate) fn register_commits(&self, registry: &mut Registry) {
        registry.register(
            "diptych_query_database_commit_duration_seconds",
            "Time until readers see rows and their checkpoint",
            self.commit_duration.clone(),
        );
        registry.register("diptych_query_database_rows_written", "Rows put or deleted", self.rows_written.clone());
        registry.register("diptych_query_database_fenced", "Commits refused to a former owner", self.fenced.clone());
    }
}

/// The hop from the Event Handler: a commit.
pub(crate) fn commit_span() -> Span {
    tracing::debug_span!(
        target: "diptych::hop",
        "query-database",
        "diptych.box" = "query-database",
        "diptych.hop" = 7,
        trace_id = tracing::field::Empty
    )
}

/// The hop from the Query Service: a read.
pub(crate) fn read_span() -> Span {
    tracing::debug_span!(
        target: "diptych::hop",
        "query-database",
        "diptych.box" = "query-database",
        "diptych.hop" = 9,
        trace_id = tracing::field::Empty
    )
}
