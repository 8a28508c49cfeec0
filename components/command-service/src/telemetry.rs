//! The metrics of the command service, and the relay's share of those of the message queue: names, units, help.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::CommandOutcome;

/// Upper bounds in seconds: from a hot aggregate to a command that waits for a sick disk.
const DURATION_SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    aggregate: &'static str,
    command: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Timed {
    aggregate: &'static str,
    command: String,
}

/// The command service's metrics. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics {
    commands: Family<Answered, Counter>,
    durations: Family<Timed, Histogram>,
    pub(crate) replays: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) outbox_events: Gauge,
    pub(crate) outbox_oldest_age: Gauge<f64, AtomicU64>,
    pub(crate) publish_retries: Counter,
}

impl Metrics {
    /// Metrics that nothing shows yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            commands: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_SECONDS)),
            replays: Counter::default(),
            conflicts: Counter::default(),
            outbox_events: Gauge::default(),
            outbox_oldest_age: Gauge::default(),
            publish_retries: Counter::default(),
        }
    }

    /// Shows them in `registry`, under their full names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("diptych_command_service_commands", "Commands answered, by outcome", self.commands.clone());
        registry.register_with_unit(
            "diptych_command_service_command_duration",
            "Time from a command's arrival at the service to its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "diptych_command_service_idempotency_replays",
            "Commands answered with the stored outcome of an earlier one",
            self.replays.clone(),
        );
        registry.register(
            "diptych_command_service_conflicts",
            "Decisions that were void because the stream had moved on",
            self.conflicts.clone(),
        );
        registry.register(
            "diptych_message_queue_outbox_events",
            "Events of the log that the queue has not acknowledged to the relay",
            self.outbox_events.clone(),
        );
        registry.register_with_unit(
            "diptych_message_queue_outbox_oldest_age",
            "How long the oldest of them has been waiting, as far as this relay has seen it",
            Unit::Seconds,
            self.outbox_oldest_age.clone(),
        );
        registry.register(
            "diptych_message_queue_publish_retries",
            "Batches that the relay had to publish again",
            self.publish_retries.clone(),
        );
    }

    pub(crate) fn of_command(&self, aggregate: &'static str, command: &str) -> CommandMetrics {
        CommandMetrics {
            metrics: self.clone(),
            aggregate,
            command: command.to_owned(),
            duration: self.durations.get_or_create_owned(&Timed { aggregate, command: command.to_owned() }),
            outcomes: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The metrics of one command of one aggregate, resolved once: an answer hashes no labels and takes no family's lock.
pub(crate) struct CommandMetrics {
    metrics: Metrics,
    aggregate: &'static str,
    command: String,
    duration: Histogram,
    outcomes: [OnceLock<Counter>; OUTCOMES],
}

impl CommandMetrics {
    pub(crate) fn answered(&self, outcome: &CommandOutcome, took: std::time::Duration) {
        let (index, name) = label(outcome);
        let count = self.outcomes[index].get_or_init(|| {
            let labels = Answered { aggregate: self.aggregate, command: self.command.clone(), outcome: name };
            self.metrics.commands.get_or_create_owned(&labels)
        });
        count.inc();
        self.duration.observe(took.as_secs_f64());
        if let CommandOutcome::Accepted { replayed: true, .. } | CommandOutcome::Refused { replayed: true, .. } =
            outcome
        {
            self.metrics.replays.inc();
        }
    }
}

const OUTCOMES: usize = 13;

fn label(outcome: &CommandOutcome) -> (usize, &'static str) {
    match outcome {
        CommandOutcome::Accepted { .. } => (0, "accepted"),
        CommandOutcome::Refused { .. } => (1, "refused"),
        CommandOutcome::UnknownAggregate { .. } => (2, "unknown_aggregate"),
        CommandOutcome::UnknownCommand { .. } => (3, "unknown_command"),
        CommandOutcome::InvalidId { .. } => (4, "invalid_id"),
        CommandOutcome::Invalid { .. } => (5, "invalid"),
        CommandOutcome::PreconditionFailed { .. } => (6, "precondition_failed"),
        CommandOutcome::VersionConflict { .. } => (7, "version_conflict"),
        CommandOutcome::IdempotencyKeyReused => (8, "idempotency_key_reused"),
        CommandOutcome::TooLarge { .. } => (9, "too_large"),
        CommandOutcome::Unavailable { .. } => (10, "unavailable"),
        CommandOutcome::Unknown => (11, "unknown"),
        CommandOutcome::Internal => (12, "internal"),
    }
}

/// For a gauge of seconds.
pub(crate) fn store(gauge: &Gauge<f64, AtomicU64>, seconds: f64) {
    gauge.inner().store(seconds.to_bits(), Ordering::Relaxed);
}

/// For a gauge of things.
pub(crate) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
