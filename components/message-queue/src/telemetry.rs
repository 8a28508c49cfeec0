//! Names and help of this box's metrics, and the spans of its hop.

use model::StoredEvent;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// The metrics of a queue. Clones count into the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) pending: Gauge,
    pub(crate) consumer_resets: Counter,
    pub(crate) publish_failures: Counter,
    pub(crate) replicas: Gauge,
}

impl Metrics {
    /// Makes `registry` show them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "diptych_message_queue_pending_messages",
            "Messages that the slowest reader which keeps up has yet to take",
            self.pending.clone(),
        );
        registry.register(
            "diptych_message_queue_consumer_resets",
            "Readers that were overrun, or whose queue ended, and had to start again",
            self.consumer_resets.clone(),
        );
        registry.register(
            "diptych_message_queue_publish_failures",
            "Batches that the queue did not acknowledge",
            self.publish_failures.clone(),
        );
        registry.register(
            "diptych_message_queue_stream_replicas",
            "Copies of the stream; the queue in process has one, in memory",
            self.replicas.clone(),
        );
    }
}

/// Shows one message passing, to whoever listens to hops.
pub(crate) fn hop(event: &StoredEvent) {
    tracing::debug_span!(
        target: "diptych::hop",
        "message-queue",
        diptych.box = "message-queue",
        diptych.hop = 5,
        trace_id = %format_args!("{:032x}", event.metadata.trace.trace_id),
        event.position = event.position.get(),
    )
    .in_scope(|| ());
}

/// Whether anybody listens to hops.
pub(crate) fn hops_are_watched() -> bool {
    tracing::enabled!(target: "diptych::hop", tracing::Level::DEBUG)
}
