//! An aggregate as the Command Service handles it: names and bytes outside, the domain's own types inside.

use std::{
    any::Any,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Aggregate, Context, EventType, Hash, NewEvent, Refusal, RegistryError,
    aggregate::{EventTypes, Upcast},
    registry::{DecodeError, checked_name},
    shape::shape,
    variant,
};

/// One of the application's aggregates, without its types.
pub trait AggregateType: Send + Sync + 'static {
    /// Its stored name.
    fn name(&self) -> &'static str;

    /// The names of its commands, in the order of their declaration.
    fn commands(&self) -> &[String];

    /// Every stored event type that this binary can read.
    fn event_types(&self) -> Vec<EventType>;

    /// Of the stored snapshot: the declared version and the shape of the state. A snapshot of another shape is not used.
    fn state_shape(&self) -> Hash;

    /// The state before any event.
    fn initial(&self) -> Box<dyn Instance>;

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no snapshot of this state: the stream is then read from its start.
    fn restore(&self, snapshot: &[u8]) -> Result<Box<dyn Instance>, DecodeError>;

    /// The content of a stored event, to be downcast to the aggregate's event.
    ///
    /// # Errors
    /// [`DecodeError`] for an unknown type or a payload of another shape.
    fn decode(&self, event_type: &EventType, payload: &[u8]) -> Result<Box<dyn Any + Send + Sync>, DecodeError>;

    /// What is stored, for documents and the lock file: schemas of the events, of the state and of the commands.
    fn schemas(&self) -> Value;
}

/// The state of one aggregate in memory.
pub trait Instance: Send {
    /// Decides `command` and, when it is accepted, evolves by its events.
    ///
    /// # Errors
    /// The state is as before, except after [`Rejection::Panicked`]: then this instance must be dropped.
    fn execute(&mut self, command: &str, fields: &[u8], context: &Context) -> Result<Vec<NewEvent>, Rejection>;

    /// Evolves by an event of the log.
    ///
    /// # Errors
    /// [`DecodeError`] when the event cannot be read. After a panic in the domain too; the instance must then be dropped.
    fn evolve(&mut self, event_type: &EventType, payload: &[u8]) -> Result<(), DecodeError>;

    /// The state as JSON text, for a snapshot.
    fn snapshot(&self) -> Vec<u8>;
}

/// Why a command leads to no events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The aggregate has no such command.
    UnknownCommand {
        /// Those that it has.
        known: Vec<String>,
    },
    /// The fields are not those of the command.
    Invalid(Vec<FieldError>),
    /// The domain said no.
    Refused {
        /// Unique in the aggregate.
        code: String,
        /// What the code means.
        title: String,
        /// Of this occurrence.
        detail: String,
    },
    /// The domain's code panicked, with this message.
    Panicked(String),
}

/// What is wrong with one field of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the command's fields; empty for the whole.
    pub pointer: String,
    /// What was expected there.
    pub detail: String,
}

struct Written {
    variant: &'static str,
    event_type: EventType,
}

/// The one implementation of [`AggregateType`].
pub(crate) struct Typed<A> {
    shared: Arc<Names>,
    types: PhantomData<fn() -> A>,
}

/// What every instance of an aggregate needs of its registration.
struct Names {
    commands: Vec<String>,
    variants: &'static [&'static str],
    written: Vec<Written>,
    upcasts: Vec<(&'static str, u32, Upcast)>,
}

impl<A: Aggregate> Typed<A> {
    pub(crate) fn new() -> Result<Self, RegistryError> {
        let aggregate = checked_name(A::NAME)?;
        let not_an_enum = |what| RegistryError::NotAnEnum { aggregate: aggregate.to_owned(), what };
        let variants = variant::names::<A::Command>().ok_or(not_an_enum("Command"))?;
        let events = variant::names::<A::Event>().ok_or(not_an_enum("Event"))?;
        let types = A::events();
        for event in events {
            if !types.written.iter().any(|(variant, ..)| variant == event) {
                return Err(RegistryError::UnnamedEvent {
                    aggregate: aggregate.to_owned(),
                    variant: (*event).to_owned(),
                });
            }
        }
        if let Some((variant, ..)) = types.written.iter().find(|(variant, ..)| !events.contains(variant)) {
            return Err(RegistryError::NoSuchEvent { aggregate: aggregate.to_owned(), variant: (*variant).to_owned() });
        }
        check_event_types(aggregate, &types)?;
        let written = types
            .written
            .iter()
            .map(|&(variant, name, version)| Written { variant, event_type: EventType { name: name.into(), version } })
            .collect();
        let commands = variants.iter().map(|variant| snake_case(variant)).collect();
        let shared = Arc::new(Names { commands, variants, written, upcasts: types.upcasts });
        Ok(Self { shared, types: PhantomData })
    }
}

/// Each variant and each stored name occurs once, and upcasts lead step by step to what is written now.
fn check_event_types(aggregate: &str, types: &EventTypes) -> Result<(), RegistryError> {
    for (index, &(variant, name, version)) in types.written.iter().enumerate() {
        if types.written[..index].iter().any(|(other, stored, _)| *other == variant || *stored == name) {
            let event_type = EventType { name: name.into(), version };
            return Err(RegistryError::EventTypeTwice { event_type: event_type.to_string() });
        }
    }
    for (index, &(name, version, _)) in types.upcasts.iter().enumerate() {
        let bad = |reason| RegistryError::BadUpcast {
            aggregate: aggregate.to_owned(),
            event_type: EventType { name: name.into(), version }.to_string(),
            reason,
        };
        let is_there = |from: u32| types.upcasts.iter().any(|(other, step, _)| *other == name && *step == from);
        match types.written.iter().find(|(_, stored, _)| *stored == name) {
            None => return Err(bad("no event has that stored name")),
            Some((.., now)) if *now <= version => {
                return Err(bad("that version is not older than the one written now"));
            }
            Some((.., now)) if !(version..*now).all(is_there) => {
                return Err(bad("a version between it and the present one has none"));
            }
            Some(_) => {}
        }
        if types.upcasts[..index].iter().any(|(other, step, _)| *other == name && *step == version) {
            return Err(bad("there are two of them"));
        }
    }
    Ok(())
}

/// `PlaceOrder` → `place_order`; what is snake case stays.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, character) in name.char_indices() {
        if character.is_ascii_uppercase() && index > 0 && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(if character == '-' { '_' } else { character.to_ascii_lowercase() });
    }
    snake
}

impl<A: Aggregate> AggregateType for Typed<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn commands(&self) -> &[String] {
        &self.shared.commands
    }

    fn event_types(&self) -> Vec<EventType> {
        let written = self.shared.written.iter().map(|written| written.event_type.clone());
        let older = self.shared.upcasts.iter().map(|&(name, version, _)| EventType { name: name.into(), version });
        written.chain(older).collect()
    }

    fn state_shape(&self) -> Hash {
        let schema = shape(schemars::schema_for!(A).as_value());
        Hash::of(format!("{}\n{schema}", A::STATE_VERSION).as_bytes())
    }

    fn initial(&self) -> Box<dyn Instance> {
        Box::new(State { names: self.shared.clone(), state: A::default() })
    }

    fn restore(&self, snapshot: &[u8]) -> Result<Box<dyn Instance>, DecodeError> {
        let state: A = serde_json::from_slice(snapshot)
            .map_err(|source| DecodeError::Snapshot { aggregate: A::NAME.to_owned(), source })?;
        Ok(Box::new(State { names: self.shared.clone(), state }))
    }

    fn decode(&self, event_type: &EventType, payload: &[u8]) -> Result<Box<dyn Any + Send + Sync>, DecodeError> {
        Ok(Box::new(self.shared.decode::<A>(event_type, payload)?))
    }

    fn schemas(&self) -> Value {
        let events: Vec<Value> = self
            .shared
            .written
            .iter()
            .map(|written| serde_json::json!({ "variant": written.variant, "type": written.event_type.to_string() }))
            .collect();
        serde_json::json!({
            "events": events,
            "event": schemars::schema_for!(A::Event).to_value(),
            "command": schemars::schema_for!(A::Command).to_value(),
            "state": schemars::schema_for!(A).to_value(),
            "state_version": A::STATE_VERSION,
        })
    }
}

impl Names {
    fn decode<A: Aggregate>(&self, event_type: &EventType, payload: &[u8]) -> Result<A::Event, DecodeError> {
        let unknown = || DecodeError::UnknownType { event_type: event_type.to_string() };
        let unreadable = |source| DecodeError::Payload { event_type: event_type.to_string(), source };
        let written =
            self.written.iter().find(|written| written.event_type.name == event_type.name).ok_or_else(unknown)?;
        if written.event_type.version == event_type.version {
            return variant::decode(written.variant, payload).map_err(unreadable);
        }
        let mut version = event_type.version;
        let mut value: Value = serde_json::from_slice(payload).map_err(unreadable)?;
        while version != written.event_type.version {
            let step = self.upcasts.iter().find(|(name, from, _)| **name == *event_type.name && *from == version);
            let (_, _, upcast) = step.ok_or_else(unknown)?;
            value = guarded(|| upcast(value)).map_err(|message| DecodeError::Panicked { message })?;
            version += 1;
        }
        variant::decode(written.variant, value.to_string().as_bytes()).map_err(unreadable)
    }
}

struct State<A> {
    names: Arc<Names>,
    state: A,
}

impl<A: Aggregate> State<A> {
    fn read(&self, command: &str, fields: &[u8]) -> Result<A::Command, Rejection> {
        let index = self.names.commands.iter().position(|known| known == command);
        let variant = index
            .and_then(|index| self.names.variants.get(index))
            .ok_or_else(|| Rejection::UnknownCommand { known: self.names.commands.clone() })?;
        let mut unknown = Vec::new();
        match variant::decode_exactly(variant, fields, &mut |pointer| unknown.push(pointer)) {
            Ok(command) if unknown.is_empty() => Ok(command),
            Ok(_) => Err(Rejection::Invalid(
                unknown
                    .into_iter()
                    .map(|pointer| FieldError { pointer, detail: "the command has no such field".to_owned() })
                    .collect(),
            )),
            Err(_) => {
                let (pointer, detail) = variant::explain::<A::Command>(variant, fields);
                Err(Rejection::Invalid(vec![FieldError { pointer, detail }]))
            }
        }
    }

    fn write(&self, event: &A::Event) -> Result<NewEvent, Rejection> {
        let mut payload = Vec::with_capacity(256);
        let variant = variant::encode(event, &mut payload).map_err(|error| Rejection::Panicked(error.to_string()))?;
        let written = self.names.written.iter().find(|written| written.variant == variant);
        let event_type = written.ok_or_else(|| Rejection::Panicked(format!("event {variant} has no stored name")))?;
        Ok(NewEvent { event_type: event_type.event_type.clone(), payload: Bytes::from(payload) })
    }
}

impl NewEvent {
    /// `event` as the log would hold it. Decisions are written by [`Instance::execute`]; this is for tests and tools.
    ///
    /// # Errors
    /// What is wrong with the aggregate's declaration, or with the event's JSON.
    pub fn of<A: Aggregate>(event: &A::Event) -> Result<Self, String> {
        let typed = Typed::<A>::new().map_err(|error| error.to_string())?;
        let state = State { names: typed.shared, state: A::default() };
        state.write(event).map_err(|rejection| format!("{rejection:?}"))
    }
}

impl<A: Aggregate> Instance for State<A> {
    fn execute(&mut self, command: &str, fields: &[u8], context: &Context) -> Result<Vec<NewEvent>, Rejection> {
        let command = self.read(command, fields)?;
        let decided = guarded(|| self.state.decide(command, context)).map_err(Rejection::Panicked)?;
        let events = decided.map_err(|refusal| Rejection::Refused {
            code: refusal.code().to_owned(),
            title: refusal.title().to_owned(),
            detail: refusal.to_string(),
        })?;
        // All are written before the state moves: a failure leaves it as it was.
        let written = events.iter().map(|event| self.write(event)).collect::<Result<_, _>>()?;
        guarded(|| events.iter().for_each(|event| self.state.evolve(event))).map_err(Rejection::Panicked)?;
        Ok(written)
    }

    fn evolve(&mut self, event_type: &EventType, payload: &[u8]) -> Result<(), DecodeError> {
        let event = self.names.decode::<A>(event_type, payload)?;
        guarded(|| self.state.evolve(&event)).map_err(|message| DecodeError::Panicked { message })
    }

    fn snapshot(&self) -> Vec<u8> {
        // A state that cannot be written is only slower to load: an empty snapshot is one that restores nothing.
        serde_json::to_vec(&self.state).unwrap_or_default()
    }
}

/// Runs the domain's code; its panic becomes a message.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned())
    })
}
