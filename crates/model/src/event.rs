use std::{any::Any, ops::Deref, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Aggregate, CommandId, EpochId, EventId, Hash, Position, Principal, StreamId, StreamVersion, Tenant};

/// Stored name and version of an event's type, such as `order.placed` 1. Never a Rust name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventType {
    /// Lower case, with the aggregate's name before the point.
    pub name: Arc<str>,
    /// Counted from 1; another shape of payload is another version.
    pub version: u32,
}

impl std::fmt::Display for EventType {
    /// `order.placed.v1`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.v{}", self.name, self.version)
    }
}

/// An event that a decision made and that no log holds yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Stored name and version.
    pub event_type: EventType,
    /// Its fields as JSON text.
    pub payload: Bytes,
}

/// W3C trace context (level 1) of the request that led to an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// 16 bytes, not all zero.
    pub trace_id: u128,
    /// 8 bytes: the span that caused this; 0 where the client sent none.
    pub parent_id: u64,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

/// What is stored about an event beside its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Who asked for it.
    pub principal: Principal,
    /// The time the decision saw (`Context::time`), microseconds.
    pub time: Timestamp,
    /// What it belongs to; the command's id where the client named nothing.
    pub correlation: Uuid,
    /// What caused it; the command's id where the client named nothing.
    pub causation: Uuid,
    /// The trace it was made in.
    pub trace: TraceContext,
    /// What tracing systems on the way said about that trace (W3C `tracestate`), as it came; `None` where nothing came.
    pub tracestate: Option<Arc<str>>,
}

/// An event as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Place in the log.
    pub position: Position,
    /// The life of the log it was written in.
    pub epoch: EpochId,
    /// Its own id.
    pub event_id: EventId,
    /// Whose stream, and which.
    pub stream: StreamId,
    /// Place in the stream.
    pub version: StreamVersion,
    /// Stored name and version.
    pub event_type: EventType,
    /// The command that made it.
    pub command_id: CommandId,
    /// How many events that command made: they are contiguous in the log.
    pub command_events: u32,
    /// Its fields as JSON text.
    pub payload: Bytes,
    /// Who, when, why.
    pub metadata: Metadata,
    /// When the log committed it, microseconds; never less than that of the position before.
    pub recorded_at: Timestamp,
    /// Hash over this event and the hash of the one before.
    pub hash: Hash,
}

/// An event with its content decoded, as a projection sees it. Dereferences to [`StoredEvent`].
#[derive(Debug)]
pub struct Recorded {
    stored: Arc<StoredEvent>,
    content: Option<Box<dyn Any + Send + Sync>>,
}

impl Recorded {
    /// `content` is the aggregate's event, or nothing for events that Diptych itself writes.
    #[must_use]
    pub fn new(stored: impl Into<Arc<StoredEvent>>, content: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self { stored: stored.into(), content }
    }

    /// The event, if it is one of `A`.
    #[must_use]
    pub fn of<A: Aggregate>(&self) -> Option<&A::Event> {
        if *self.stored.stream.aggregate != *A::NAME {
            return None;
        }
        self.content.as_ref()?.downcast_ref()
    }

    /// The id of the aggregate that it happened to.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.stored.stream.id
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.stored.stream.tenant
    }
}

impl Deref for Recorded {
    type Target = StoredEvent;

    fn deref(&self) -> &StoredEvent {
        &self.stored
    }
}
