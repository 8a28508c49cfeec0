use std::{cell::Cell, fmt};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use crate::{CommandId, Principal, Tenant};

/// Decides which events a command leads to, from the state that its earlier events add up to.
///
/// Decision and evolution are pure: no clock, no randomness, no I/O. What a decision needs from outside is in the command or
/// in [`Context`]. The same state, command and context give the same events, on every machine and at any time.
pub trait Aggregate: Default + Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// Stored name, such as `order`: lower case, digits and `_`, part of the path of every command.
    const NAME: &'static str;
    /// Of the stored snapshot: raise it when `evolve` changes what it makes of the same events.
    const STATE_VERSION: u32;
    /// An enum; its variants' names in snake case are the commands' names.
    type Command: DeserializeOwned + JsonSchema + Send + 'static;
    /// An enum; [`Aggregate::events`] names its variants for the log.
    type Event: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// The domain's ways to say no.
    type Refusal: Refusal;

    /// The stored name and version of every variant of [`Aggregate::Event`].
    fn events() -> EventTypes;

    /// The events that `command` leads to, or why it is refused. No events: accepted, and nothing happened.
    ///
    /// # Errors
    /// A refusal, which is an answer: it is stored under the command's idempotency key as an acceptance is.
    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// The state after `event`. Total: what was once accepted can always be evolved from.
    fn evolve(&mut self, event: &Self::Event);
}

/// The domain's answer that a command is not accepted in the present state. Its `Display` is the detail, for people.
pub trait Refusal: fmt::Display + Send + 'static {
    /// Stable, kebab-case, unique in its aggregate: clients branch on it.
    fn code(&self) -> &'static str;

    /// What the code means, the same for every occurrence.
    fn title(&self) -> &'static str;
}

impl Refusal for std::convert::Infallible {
    fn code(&self) -> &'static str {
        match *self {}
    }

    fn title(&self) -> &'static str {
        match *self {}
    }
}

/// What a decision may know beside state and command.
#[derive(Debug)]
pub struct Context {
    time: Timestamp,
    actor: Principal,
    tenant: Tenant,
    command_id: CommandId,
    ids_made: Cell<u32>,
}

impl Context {
    /// `time` is cut to whole microseconds, which is what the log stores.
    #[must_use]
    pub fn new(time: Timestamp, actor: Principal, tenant: Tenant, command_id: CommandId) -> Self {
        let time = Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time);
        Self { time, actor, tenant, command_id, ids_made: Cell::new(0) }
    }

    /// When the command was accepted for decision. For the domain's own record; nothing is ordered by it.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Who asks.
    #[must_use]
    pub fn actor(&self) -> &Principal {
        &self.actor
    }

    /// Whose data it is about.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The command's id.
    #[must_use]
    pub fn command_id(&self) -> CommandId {
        self.command_id
    }

    /// A new id. The first, second … of one command are always the same, so that a decision can be repeated and compared.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        let index = self.ids_made.get();
        self.ids_made.set(index + 1);
        Uuid::new_v5(&self.command_id.0, &index.to_be_bytes())
    }
}

/// Turns the JSON of an older version of an event into that of the next one.
pub(crate) type Upcast = fn(Value) -> Value;

/// How the variants of an event enum are called in the log.
#[derive(Clone, Debug, Default)]
pub struct EventTypes {
    pub(crate) written: Vec<(&'static str, &'static str, u32)>,
    pub(crate) upcasts: Vec<(&'static str, u32, Upcast)>,
}

impl EventTypes {
    /// Of each variant: its name as serde knows it, its stored name, and the version that is written now.
    #[must_use]
    pub fn new<const N: usize>(types: [(&'static str, &'static str, u32); N]) -> Self {
        Self { written: types.to_vec(), upcasts: Vec::new() }
    }

    /// Reads what is stored as `version` of `name` by turning its JSON into that of the version after it.
    #[must_use]
    pub fn upcast(mut self, name: &'static str, version: u32, upcast: fn(Value) -> Value) -> Self {
        self.upcasts.push((name, version, upcast));
        self
    }
}
