//! Names and help of this box's metrics, and the span of its hop.

use std::sync::atomic::AtomicU64;

use model::Recorded;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tracing::Span;

use crate::{
    direct::ReadReason,
    mode::{Mode, Reason},
};

type Labels = Vec<(&'static str, String)>;
type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of an event handler. Clones count into the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    position: Family<Labels, Gauge>,
    lag_events: Family<Labels, Gauge>,
    lag_seconds: Family<Labels, Seconds>,
    mode: Family<Labels, Gauge>,
    mode_switches: Family<Labels, Counter>,
    events_applied: Family<Labels, Counter>,
    direct_reads: Family<Labels, Counter>,
    pub(crate) holes_found: Counter,
    pub(crate) holes_healed: Counter,
    pub(crate) messages_refused: Counter,
    parked_keys: Gauge,
    dead_letters: Gauge,
    held: Family<Labels, Gauge>,
    forked: Family<Labels, Gauge>,
    rebuild_ratio: Family<Labels, Seconds>,
}

impl Metrics {
    /// Makes `registry` show them.
    pub fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, metric: Metric| {
            let name = format!("diptych_event_handler_{name}");
            match metric {
                Metric::Gauge(gauge) => registry.register(name, help, gauge),
                Metric::Counter(counter) => registry.register(name, help, counter),
                Metric::Gauges(family) => registry.register(name, help, family),
                Metric::Counters(family) => registry.register(name, help, family),
                Metric::Seconds(family) => registry.register(name, help, family),
            }
        };
        add("position", "Checkpoint of a generation", Metric::Gauges(self.position.clone()));
        add("lag_events", "Events that a projection has yet to apply", Metric::Gauges(self.lag_events.clone()));
        add("lag_seconds", "How long a projection has been behind the log", Metric::Seconds(self.lag_seconds.clone()));
        add("mode", "1 for the mode that the process is in", Metric::Gauges(self.mode.clone()));
        add("mode_switches", "Changes of the mode", Metric::Counters(self.mode_switches.clone()));
        add("events_applied", "Events applied, by what brought them", Metric::Counters(self.events_applied.clone()));
        add("direct_reads", "Reads of the log, by reason", Metric::Counters(self.direct_reads.clone()));
        add("holes_found", "Messages that came before one they follow on", Metric::Counter(self.holes_found.clone()));
        add("holes_healed", "Holes that were read from the log", Metric::Counter(self.holes_healed.clone()));
        add(
            "messages_refused",
            "Messages of the queue that do not fit the log's lineage or its hash chain",
            Metric::Counter(self.messages_refused.clone()),
        );
        add("parked_keys", "Rows that wait because of an event", Metric::Gauge(self.parked_keys.clone()));
        add("dead_letters", "Events that wait behind such rows", Metric::Gauge(self.dead_letters.clone()));
        add("held", "1 for a projection that waits as a whole", Metric::Gauges(self.held.clone()));
        add(
            "forked",
            "1 while a projection is answered from rows of a history that the log does not have",
            Metric::Gauges(self.forked.clone()),
        );
        add(
            "rebuild_ratio",
            "How much of the log a generation contains, 0 to 1",
            Metric::Seconds(self.rebuild_ratio.clone()),
        );
        // A reason that never occurred is a zero that can be alerted on, not a gap.
        ReadReason::ALL.iter().for_each(|reason| drop(self.reads(*reason)));
        self.entered(Mode::Queue);
    }

    fn reads(&self, reason: ReadReason) -> Counter {
        self.direct_reads.get_or_create_owned(&vec![("reason", reason.name().to_owned())])
    }

    pub(crate) fn direct_read(&self, reason: ReadReason) {
        self.reads(reason).inc();
    }

    /// How often the log was read directly, for each reason that has occurred or could.
    #[must_use]
    pub fn direct_reads(&self) -> Vec<(&'static str, u64)> {
        ReadReason::ALL.iter().map(|reason| (reason.name(), self.reads(*reason).get())).collect()
    }

    fn entered(&self, entered: Mode) {
        for mode in Mode::ALL {
            let labels = vec![("mode", mode.name().to_owned())];
            self.mode.get_or_create(&labels).set(i64::from(mode == entered));
        }
    }

    pub(crate) fn switched(&self, from: Mode, to: Mode, reason: Reason) {
        let labels =
            vec![("from", from.name().to_owned()), ("to", to.name().to_owned()), ("reason", reason.name().to_owned())];
        self.mode_switches.get_or_create(&labels).inc();
        self.entered(to);
    }

    pub(crate) fn of_projection(&self, projection: &str, generation: u64) -> ProjectionMetrics {
        let name = || ("projection", projection.to_owned());
        let both = vec![name(), ("generation", generation.to_string())];
        let from = |source: &str| vec![name(), ("source", source.to_owned())];
        ProjectionMetrics {
            position: self.position.get_or_create_owned(&both),
            lag_events: self.lag_events.get_or_create_owned(&both),
            lag_seconds: self.lag_seconds.get_or_create_owned(&both),
            from_queue: self.events_applied.get_or_create_owned(&from("queue")),
            from_log: self.events_applied.get_or_create_owned(&from("direct")),
            held: self.held.get_or_create_owned(&vec![name()]),
            forked: self.forked.get_or_create_owned(&vec![name()]),
            rebuild_ratio: self.rebuild_ratio.get_or_create_owned(&both),
        }
    }
}

enum Metric {
    Gauge(Gauge),
    Counter(Counter),
    Gauges(Family<Labels, Gauge>),
    Counters(Family<Labels, Counter>),
    Seconds(Family<Labels, Seconds>),
}

/// The metrics of one generation, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionMetrics {
    pub(crate) position: Gauge,
    pub(crate) lag_events: Gauge,
    pub(crate) lag_seconds: Seconds,
    pub(crate) from_queue: Counter,
    pub(crate) from_log: Counter,
    pub(crate) held: Gauge,
    pub(crate) forked: Gauge,
    pub(crate) rebuild_ratio: Seconds,
}

/// Whether anybody listens to hops.
pub(crate) fn hops_are_watched() -> bool {
    tracing::enabled!(target: "diptych::hop", tracing::Level::DEBUG)
}

/// The span of one applied event. A batch holds the events of many traces, so each has its own.
pub(crate) fn hop(event: &Recorded, projection: &str) -> Span {
    tracing::debug_span!(
        target: "diptych::hop",
        "event-handler",
        diptych.box = "event-handler",
        diptych.hop = 6,
        trace_id = %format_args!("{:032x}", event.metadata.trace.trace_id),
        event.position = event.position.get(),
        projection.name = projection,
    )
}
