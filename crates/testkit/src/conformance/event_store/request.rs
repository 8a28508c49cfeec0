use bytes::Bytes;
use command_database::{Append, Decision, ExpectedVersion, Idempotency};
use jiff::Timestamp;
use model::{CommandId, EventType, Hash, Metadata, NewEvent, Principal, StreamId, Tenant, TraceContext};
use runtime::Runtime;

/// An [`Append`] in the making: no events, whatever the version, no key.
#[derive(Clone, Debug)]
pub struct Request {
    append: Append,
}

/// The stream of that name which the tests use.
#[must_use]
pub(super) fn stream(id: &str) -> StreamId {
    StreamId { tenant: Tenant::default(), aggregate: "order".into(), id: id.into() }
}

impl Request {
    /// For the stream `id`, as a command of its own.
    #[must_use]
    pub fn new(runtime: &Runtime, id: &str) -> Self {
        let command = runtime.uuid();
        let metadata = Metadata {
            principal: Principal::default(),
            time: Timestamp::UNIX_EPOCH,
            correlation: command,
            causation: command,
            trace: TraceContext { trace_id: command.as_u128(), parent_id: 0, sampled: false },
            tracestate: None,
        };
        Self {
            append: Append {
                stream: stream(id),
                expected: ExpectedVersion::Any,
                command_id: CommandId(command),
                decision: Decision::Accepted(Vec::new()),
                metadata,
                idempotency: None,
            },
        }
    }

    /// Of another tenant.
    #[must_use]
    pub fn of_tenant(mut self, tenant: &str) -> Self {
        self.append.stream.tenant = Tenant::new(tenant);
        self
    }

    /// Decided on this version.
    #[must_use]
    pub fn expecting(mut self, expected: ExpectedVersion) -> Self {
        self.append.expected = expected;
        self
    }

    /// One more event.
    #[must_use]
    pub fn event(mut self, payload: impl Into<Bytes>) -> Self {
        let event =
            NewEvent { event_type: EventType { name: "order.noted".into(), version: 1 }, payload: payload.into() };
        match &mut self.append.decision {
            Decision::Accepted(events) => events.push(event),
            refused @ Decision::Refused(_) => *refused = Decision::Accepted(vec![event]),
        }
        self
    }

    /// Refused for this reason.
    #[must_use]
    pub fn refused(mut self, reason: &'static [u8]) -> Self {
        self.append.decision = Decision::Refused(Bytes::from_static(reason));
        self
    }

    /// Under the client's key `key`, sent with the payload `body`.
    #[must_use]
    pub fn key(mut self, key: &str, body: &str) -> Self {
        self.append.idempotency = Some(Idempotency { key: hash(key), fingerprint: hash(body) });
        self
    }

    /// Made by someone, for a reason, in a trace.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.append.metadata = metadata;
        self
    }

    /// What the store takes.
    #[must_use]
    pub fn build(self) -> Append {
        self.append
    }
}

/// What a key is known to the store as.
pub(super) fn hash(text: &str) -> Hash {
    Hash::of(text.as_bytes())
}
