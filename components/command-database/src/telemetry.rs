//! Names, units and help of this box's metrics, and its hop in a trace.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tracing::Span;

use crate::{Append, chain::Prepared};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    event: Arc<str>,
}

/// What this box measures. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    events_appended: Family<EventLabel, Counter>,
    commit_commands: Histogram,
    commit_duration: Histogram,
    head_position: Gauge<u64, AtomicU64>,
    waiting_commands: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            events_appended: Family::default(),
            commit_commands: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            commit_duration: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            head_position: Gauge::default(),
            waiting_commands: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Makes them visible under their full names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "diptych_command_database_events_appended",
            "Events made durable, by stored type name",
            self.events_appended.clone(),
        );
        registry.register(
            "diptych_command_database_commit_commands",
            "Commands that shared one commit",
            self.commit_commands.clone(),
        );
        registry.register_with_unit(
            "diptych_command_database_commit_duration",
            "From handing a batch to the log to its being durable",
            Unit::Seconds,
            self.commit_duration.clone(),
        );
        registry.register(
            "diptych_command_database_head_position",
            "Position of the last event, 0 while there is none",
            self.head_position.clone(),
        );
        registry.register(
            "diptych_command_database_waiting_commands",
            "Commands that wait for the next commit",
            self.waiting_commands.clone(),
        );
    }

    pub(crate) fn committed(&self, commands: usize, duration: std::time::Duration, head: u64) {
        self.commit_commands.observe(commands as f64);
        self.commit_duration.observe(duration.as_secs_f64());
        self.head_position.set(head);
    }

    pub(crate) fn head(&self, position: u64) {
        self.head_position.set(position);
    }

    pub(crate) fn appended(&self, event: &Arc<str>, count: u64) {
        self.events_appended.get_or_create(&EventLabel { event: event.clone() }).inc_by(count);
    }

    pub(crate) fn waiting(&self, commands: usize) {
        self.waiting_commands.set(i64::try_from(commands).unwrap_or(i64::MAX));
    }
}

/// The hop of each command, to be held while its batch is appended; none while nobody listens.
pub(crate) fn hops(batch: &[Prepared]) -> Vec<Span> {
    if !tracing::enabled!(target: "diptych::hop", tracing::Level::DEBUG) {
        return Vec::new();
    }
    let hop = |append: &Append| {
        tracing::debug_span!(
            target: "diptych::hop",
            "command-database",
            diptych.r#box = "command-database",
            diptych.hop = 4,
            trace_id = %format_args!("{:032x}", append.metadata.trace.trace_id),
            command.id = %append.command_id,
            stream.id = %append.stream,
        )
    };
    batch.iter().flat_map(Prepared::appends).map(hop).collect()
}
