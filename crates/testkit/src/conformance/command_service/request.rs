use bytes::Bytes;
use command_database::Idempotency;
use command_service::{CommandRequest, Precondition};
use model::{Hash, Principal, Tenant, TraceContext};

/// A command for the account of the test domain.
#[derive(Clone, Debug)]
pub struct Request(CommandRequest);

impl Request {
    /// `command` for the account `id`, with these fields as JSON.
    #[must_use]
    pub fn new(id: &str, command: &str, fields: &str) -> Self {
        Self(CommandRequest {
            tenant: Tenant::default(),
            principal: Principal::new("tester"),
            aggregate: "account".to_owned(),
            id: id.to_owned(),
            command: command.to_owned(),
            fields: Bytes::copy_from_slice(fields.as_bytes()),
            precondition: Precondition::None,
            idempotency: None,
            correlation: None,
            causation: None,
            trace: TraceContext { trace_id: 7, parent_id: 8, sampled: false },
            tracestate: Some("rojo=1".into()),
        })
    }

    /// Opens it.
    #[must_use]
    pub fn open(id: &str) -> Self {
        Self::new(id, "open", r#"{"owner":"Ada"}"#)
    }

    /// Puts `amount` into it.
    #[must_use]
    pub fn deposit(id: &str, amount: u64) -> Self {
        Self::new(id, "deposit", &format!(r#"{{"amount":{amount}}}"#))
    }

    /// Puts `amount` into it, in `parts` events.
    #[must_use]
    pub fn deposit_parts(id: &str, amount: u64, parts: usize) -> Self {
        Self::new(id, "deposit_parts", &format!(r#"{{"amount":{amount},"parts":{parts}}}"#))
    }

    /// Takes `amount` from it.
    #[must_use]
    pub fn withdraw(id: &str, amount: u64) -> Self {
        Self::new(id, "withdraw", &format!(r#"{{"amount":{amount}}}"#))
    }

    /// Meets a mistake in the domain's code.
    #[must_use]
    pub fn explode(id: &str) -> Self {
        Self::new(id, "explode", "{}")
    }

    /// With a client's key. The fingerprint is that of command and fields.
    #[must_use]
    pub fn keyed(mut self, key: &str) -> Self {
        let request = &self.0;
        let scope = format!("{} {} {}", request.tenant, request.id, request.command);
        let fields = String::from_utf8_lossy(&request.fields);
        self.0.idempotency = Some(Idempotency {
            key: Hash::of(format!("{scope} {key}").as_bytes()),
            fingerprint: Hash::of(format!("{scope} {fields}").as_bytes()),
        });
        self
    }

    /// With a demand on the stream.
    #[must_use]
    pub fn demanding(mut self, precondition: Precondition) -> Self {
        self.0.precondition = precondition;
        self
    }

    /// With whatever else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut CommandRequest)) -> Self {
        change(&mut self.0);
        self
    }

    /// The request itself.
    #[must_use]
    pub fn build(self) -> CommandRequest {
        self.0
    }
}
