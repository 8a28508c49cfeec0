use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use command_database::Idempotency;
use futures_util::future::BoxFuture;
use model::{
    CommandId, ConsistencyToken, EventId, EventType, FieldError, Position, Principal, StreamVersion, Tenant,
    TraceContext,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One command, as it crosses from the API Gateway to the Command Service. Nothing of HTTP is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// Whose data.
    pub tenant: Tenant,
    /// Who asks, verified by the gateway.
    pub principal: Principal,
    /// The aggregate's name.
    pub aggregate: String,
    /// Which aggregate of that name; plain text, not encoded.
    pub id: String,
    /// The command's name.
    pub command: String,
    /// Its fields as JSON text; empty is the same as `{}`.
    pub fields: Bytes,
    /// What the client demands of the stream.
    pub precondition: Precondition,
    /// The client's key, if it sent one.
    pub idempotency: Option<Idempotency>,
    /// What it belongs to, if the client said so.
    pub correlation: Option<Uuid>,
    /// What caused it, if the client said so.
    pub causation: Option<Uuid>,
    /// The trace it arrived in.
    pub trace: TraceContext,
    /// What came beside `trace` in W3C `tracestate`: a valid list, or nothing.
    pub tracestate: Option<Arc<str>>,
}

/// What a client demands of a stream (RFC 9110 §13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// Nothing: a lost race is retried by the service.
    None,
    /// That it exists (`If-Match: *`).
    Exists,
    /// That it does not exist (`If-None-Match: *`).
    Absent,
    /// That it is at this version (`If-Match: "3"`).
    Version(StreamVersion),
    /// An entity tag that no stream can have: never met.
    Never,
}

impl Precondition {
    /// Whether a stream of version `current` meets it.
    #[must_use]
    pub fn is_met_by(self, current: Option<StreamVersion>) -> bool {
        match self {
            Self::None => true,
            Self::Exists => current.is_some(),
            Self::Absent => current.is_none(),
            Self::Version(version) => current == Some(version),
            Self::Never => false,
        }
    }
}

/// An event of an accepted command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedEvent {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Its place in the stream.
    pub version: StreamVersion,
    /// Its place in the log.
    pub position: Position,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommandOutcome {
    /// Durable.
    Accepted {
        /// The command.
        command_id: CommandId,
        /// The stream's version after it; `None` where there is no stream even then.
        version: Option<StreamVersion>,
        /// Whether it made the stream.
        created: bool,
        /// Its events, in order.
        events: Vec<AcceptedEvent>,
        /// Names a prefix of the log that contains it; `None` while the log is empty.
        token: Option<ConsistencyToken>,
        /// The trace that its events are stored under, which may be that of an earlier request with the same key; `None`
        /// where it made no events, since nothing then remembers one.
        trace_id: Option<u128>,
        /// Whether this is the stored outcome of an earlier request with the same key.
        replayed: bool,
    },
    /// The domain said no.
    Refused {
        /// Unique in the aggregate.
        code: String,
        /// What the code means.
        title: String,
        /// Of this occurrence.
        detail: String,
        /// Whether this is the stored outcome of an earlier request with the same key.
        replayed: bool,
    },
    /// No aggregate of that name.
    UnknownAggregate {
        /// Those that there are.
        known: Vec<String>,
    },
    /// The aggregate has no such command.
    UnknownCommand {
        /// Those that it has.
        known: Vec<String>,
    },
    /// The aggregate's id cannot be one.
    InvalidId {
        /// What is wrong with it.
        detail: String,
    },
    /// The fields are not those of the command.
    Invalid {
        /// What is wrong with which.
        errors: Vec<FieldError>,
    },
    /// The stream is not as the client demanded.
    PreconditionFailed {
        /// The stream's version.
        current: Option<StreamVersion>,
    },
    /// Others were faster, as often as the service retried.
    VersionConflict {
        /// The stream's version.
        current: Option<StreamVersion>,
    },
    /// The key was used before for another request.
    IdempotencyKeyReused,
    /// Too much for one command: more events or bytes than one commit takes.
    TooLarge {
        /// The limit that was exceeded, for people.
        detail: String,
    },
    /// Nothing was written: the same request may succeed later.
    Unavailable {
        /// Why.
        reason: UnavailableReason,
        /// When to try again.
        retry_after: Duration,
    },
    /// Whether it was written is not known: send it again with the same key.
    Unknown,
    /// The domain's code or the service itself failed; the log has the details under the trace id. Nothing was written.
    Internal,
}

/// Why a command was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnavailableReason {
    /// The Command Database does not answer.
    Database,
    /// It has no space left.
    StorageFull,
    /// As many commands are under way as the limits allow.
    Overloaded,
    /// The service is ending.
    Draining,
    /// No Command Service takes calls.
    Unreachable,
}

/// Executes commands. A command runs to its end even when the future that asked for it is dropped.
pub trait CommandService: Send + Sync + 'static {
    /// Decides and appends one command, and answers once its events are durable.
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome>;
}
