//! Given, when, then: a domain's tests, without any box.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
};

use jiff::Timestamp;
use model::{
    Aggregate, Change, CommandId, Context, EpochId, EventId, Hash, Key, Metadata, NewEvent, Position, Principal,
    Projection, Recorded, Registry, StoredEvent, StreamId, StreamVersion, Tenant, TraceContext,
};
use uuid::Uuid;

/// An aggregate to which `events` have happened.
///
/// ```
/// use testkit::{domain::{Account, Command, Event, Refusal}, given};
///
/// let opened = || Event::Opened { owner: "Ada".into() };
/// given::<Account>([opened()])
///     .when(Command::Deposit { amount: 5 })
///     .then([Event::Deposited { amount: 5 }]);
/// given::<Account>([opened(), Event::Deposited { amount: 5 }])
///     .when(Command::Withdraw { amount: 7 })
///     .then_refused(Refusal::NotEnough { balance: 5, asked: 7 });
/// ```
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    events.into_iter().for_each(|event| state.evolve(&event));
    Given { state, time: a_time(), actor: Principal::default(), tenant: Tenant::default() }
}

/// An aggregate, and what its next decision may know beside its state.
#[derive(Debug)]
#[must_use = "nothing is decided before `when`"]
pub struct Given<A> {
    state: A,
    time: Timestamp,
    actor: Principal,
    tenant: Tenant,
}

impl<A: Aggregate> Given<A> {
    /// Decides at `time`; without this on the first day of 2026.
    pub fn at(self, time: Timestamp) -> Self {
        Self { time, ..self }
    }

    /// Decides for `actor`; without this for nobody in particular.
    pub fn by(self, actor: &str) -> Self {
        Self { actor: Principal::new(actor), ..self }
    }

    /// Decides `command`. The command's id, and with it all ids that the decision makes, are the same in every test.
    pub fn when(self, command: A::Command) -> Then<A> {
        let context = Context::new(self.time, self.actor, self.tenant, CommandId(Uuid::from_u128(1)));
        let decided = self.state.decide(command, &context);
        Then { state: self.state, decided }
    }
}

/// What a command came to.
#[must_use = "nothing is checked before `then` or `then_refused`"]
pub struct Then<A: Aggregate> {
    state: A,
    decided: Result<Vec<A::Event>, A::Refusal>,
}

impl<A: Aggregate> Then<A>
where
    A::Event: Debug + PartialEq,
{
    /// It was accepted with exactly these events, and the aggregate can evolve by them. Returns the aggregate after them.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> A {
        let decided = self.decided.unwrap_or_else(|refusal| panic!("the command was refused: {refusal}"));
        assert_eq!(decided, events.into_iter().collect::<Vec<_>>(), "the events are not those expected");
        let mut state = self.state;
        decided.iter().for_each(|event| state.evolve(event));
        state
    }

    /// It was refused, for exactly this reason.
    ///
    /// # Panics
    /// When it was accepted, or refused for another reason.
    #[track_caller]
    pub fn then_refused(self, refusal: A::Refusal)
    where
        A::Refusal: Debug + PartialEq,
    {
        match self.decided {
            Err(refused) => assert_eq!(refused, refusal, "the command was refused for another reason"),
            Ok(events) => panic!("the command was accepted with {events:?}, expected a refusal: {refusal}"),
        }
    }
}

/// An event of the aggregate `id`, for [`row_after`].
pub struct Happened {
    aggregate: &'static str,
    id: String,
    event: NewEvent,
    register: fn(Registry) -> Registry,
}

/// `event` happened to the aggregate `id` of type `A`.
///
/// # Panics
/// When the aggregate's declaration is wrong, or the event has no JSON.
pub fn happened<A: Aggregate>(id: &str, event: A::Event) -> Happened {
    let event = NewEvent::of::<A>(&event).unwrap_or_else(told("the event cannot be written"));
    let register = |registry: Registry| registry.aggregate::<A>().unwrap_or_else(told("the aggregate is no good"));
    Happened { aggregate: A::NAME, id: id.to_owned(), event, register }
}

/// The row of `key` after `events`, which happen in this order; `None` where there is no such row.
///
/// Events that do not touch the key are there all the same. Each is written as the log would hold it and read again, and so
/// is the row after each event: what does not survive that shows here.
///
/// ```
/// use testkit::{domain::{Account, Event, Ledger}, happened, row_after};
///
/// let opened = |id| happened::<Account>(id, Event::Opened { owner: "Ada".into() });
/// let row = row_after::<Ledger>(&("account".into(), "a-1".into()), [opened("a-1"), opened("a-2")]);
/// assert_eq!(row.map(|row| row.n), Some(1));
/// ```
///
/// # Panics
/// When the projection cannot fold an event.
pub fn row_after<P: Projection>(key: &P::Key, events: impl IntoIterator<Item = Happened>) -> Option<P> {
    let mut row: Option<P> = None;
    for event in recorded(events) {
        let keys = P::keys(&event).unwrap_or_else(told("the projection cannot tell the event's keys"));
        if !keys.into_iter().any(|touched| touched == *key) {
            continue;
        }
        match P::fold(key, row.clone(), &event).unwrap_or_else(told("the projection cannot fold the event")) {
            Change::Keep => {}
            Change::Put(next) => row = Some(stored(&next)),
            Change::Delete => row = None,
        }
    }
    key.encoded().unwrap_or_else(told("the key is none"));
    row
}

fn stored<P: Projection>(row: &P) -> P {
    let body = serde_json::to_string(row).unwrap_or_else(told("the row has no JSON"));
    serde_json::from_str(&body).unwrap_or_else(told("the row cannot be read from its own JSON"))
}

/// The events as the log would hand them out: positions and versions are dense, times rise by a second.
fn recorded(events: impl IntoIterator<Item = Happened>) -> impl Iterator<Item = Recorded> {
    let mut versions = BTreeMap::<(&'static str, String), u64>::new();
    (0_u64..).zip(events).map(move |(index, happened)| {
        let Happened { aggregate, id, event, register } = happened;
        let version = versions.entry((aggregate, id.clone())).or_default();
        *version += 1;
        let command_id = CommandId(Uuid::from_u128(u128::from(index + 1) << 32));
        let time = a_time() + jiff::SignedDuration::from_secs(i64::try_from(index).unwrap_or(i64::MAX));
        let stored = StoredEvent {
            position: Position::FIRST.plus(index),
            epoch: EpochId(Uuid::nil()),
            event_id: EventId::derived(command_id, 0),
            stream: StreamId { tenant: Tenant::default(), aggregate: aggregate.into(), id: id.into() },
            version: StreamVersion::FIRST.plus(*version - 1),
            event_type: event.event_type,
            command_id,
            command_events: 1,
            payload: event.payload,
            metadata: Metadata {
                principal: Principal::default(),
                time,
                correlation: command_id.0,
                causation: command_id.0,
                trace: TraceContext::default(),
                tracestate: None,
            },
            recorded_at: time,
            hash: Hash::default(),
        };
        register(Registry::new()).decode(stored).unwrap_or_else(told("the event cannot be read from its own JSON"))
    })
}

fn a_time() -> Timestamp {
    Timestamp::constant(1_767_225_600, 0)
}

fn told<T, E: Display>(what: &'static str) -> impl FnOnce(E) -> T {
    move |error| panic!("{what}: {error}")
}
