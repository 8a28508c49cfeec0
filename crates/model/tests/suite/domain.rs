//! A tab in a pub, and what is owed.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use model::{
    Aggregate, Change, CommandId, Context, EpochId, EventId, EventType, EventTypes, FoldError, Hash, Indexes, Keys,
    Metadata, Money, Position, Principal, Projection, Recorded, Refusal, Registry, StoredEvent, StreamId,
    StreamVersion, Tenant, TraceContext,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Tab {
    owner: Option<String>,
    owed: Money<2>,
    closed: bool,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) enum Command {
    Open { owner: String },
    AddRound { drinks: Vec<Drink> },
    Tip { amount: Option<Money<2>> },
    Rename(Name),
    Close,
    BreakGlass,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Drink {
    pub(crate) name: String,
    pub(crate) price: Money<2>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Name {
    pub(crate) owner: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) enum Event {
    Opened { owner: String, table: u32 },
    RoundAdded { drinks: Vec<Drink> },
    Renamed(Name),
    Closed,
}

#[derive(Debug)]
pub(crate) struct Shut;

impl std::fmt::Display for Shut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the tab is closed: open another")
    }
}

impl Refusal for Shut {
    fn code(&self) -> &'static str {
        "closed"
    }

    fn title(&self) -> &'static str {
        "The tab is closed"
    }
}

impl Aggregate for Tab {
    const NAME: &'static str = "tab";
    const STATE_VERSION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Refusal = Shut;

    fn events() -> EventTypes {
        EventTypes::new([
            ("Opened", "tab.opened", 3),
            ("RoundAdded", "tab.round_added", 1),
            ("Renamed", "tab.renamed", 2),
            ("Closed", "tab.closed", 1),
        ])
        .upcast("tab.opened", 1, |mut old| json!({ "owner": old["name"].take() }))
        .upcast("tab.opened", 2, |mut old| {
            old["table"] = json!(7);
            old
        })
        .upcast("tab.renamed", 1, |_| panic!("nobody can say what this meant"))
    }

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Shut> {
        match command {
            _ if self.closed => Err(Shut),
            Command::Open { owner } => Ok(vec![Event::Opened { owner, table: 1 }]),
            Command::AddRound { drinks } => Ok(vec![Event::RoundAdded { drinks }]),
            Command::Tip { amount: None } => Ok(Vec::new()),
            Command::Tip { amount: Some(price) } => {
                Ok(vec![Event::RoundAdded { drinks: vec![Drink { name: "tip".to_owned(), price }] }])
            }
            Command::Rename(name) => Ok(vec![Event::Renamed(name)]),
            Command::Close => Ok(vec![Event::Closed]),
            Command::BreakGlass => panic!("shards everywhere"),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Opened { owner, .. } | Event::Renamed(Name { owner }) => self.owner = Some(owner.clone()),
            Event::RoundAdded { drinks } => self.owed += drinks.iter().map(|drink| drink.price).sum(),
            Event::Closed => self.closed = true,
        }
    }
}

/// What was drunk, by drink. `water` is never counted, `poison` cannot be, `bomb` panics, and `antidote` deletes its row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Drunk {
    glasses: u32,
    spent: Money<2>,
    last_tab: String,
}

impl Projection for Drunk {
    const NAME: &'static str = "drunk";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        match event.of::<Tab>() {
            Some(Event::RoundAdded { drinks }) => Ok(drinks.iter().map(|drink| drink.name.clone()).collect()),
            Some(Event::Opened { owner, .. }) if owner == "nobody" => Err(FoldError::new("nobody cannot be served")),
            _ => Ok(Keys::none()),
        }
    }

    fn fold(name: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let Some(Event::RoundAdded { drinks }) = event.of::<Tab>() else {
            return Ok(Change::Keep);
        };
        match name.as_str() {
            "water" => return Ok(Change::Keep),
            "antidote" if row.is_some() => return Ok(Change::Delete),
            "poison" => return Err(FoldError::new("that was no drink")),
            "bomb" => panic!("boom"),
            _ => {}
        }
        let mut row = row.unwrap_or(Self { glasses: 0, spent: Money::ZERO, last_tab: String::new() });
        for drink in drinks.iter().filter(|drink| drink.name == *name) {
            row.glasses += 1;
            row.spent += drink.price;
        }
        row.last_tab = event.id().to_owned();
        Ok(Change::Put(row))
    }

    fn indexes() -> Indexes {
        Indexes::new().integer("glasses").money("spent", 2).text("last_tab")
    }
}

pub(crate) fn registry() -> Registry {
    Registry::new()
        .aggregate::<Tab>()
        .and_then(Registry::projection::<Drunk>)
        .expect("the declarations of the tests are good")
}

pub(crate) fn context() -> Context {
    let time = Timestamp::from_microsecond(1_600_000_000_000_000).expect("a time");
    Context::new(time, Principal::default(), Tenant::default(), CommandId(Uuid::from_u128(1)))
}

pub(crate) fn stored(position: u64, name: &str, version: u32, payload: Value) -> StoredEvent {
    let time = Timestamp::from_microsecond(1_600_000_000_000_000).expect("a time");
    let command_id = CommandId(Uuid::from_u128(position.into()));
    StoredEvent {
        position: Position::new(position).expect("positions begin at 1"),
        epoch: EpochId(Uuid::nil()),
        event_id: EventId::derived(command_id, 0),
        stream: StreamId {
            tenant: Tenant::default(),
            aggregate: "tab".into(),
            id: format!("t-{}", position % 3).into(),
        },
        version: StreamVersion::FIRST,
        event_type: EventType { name: name.into(), version },
        command_id,
        command_events: 1,
        payload: Bytes::from(payload.to_string()),
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
    }
}

/// A round of these drinks, at 1.25 each.
pub(crate) fn round(position: u64, drinks: &[&str]) -> Arc<Recorded> {
    let drinks: Vec<Value> = drinks.iter().map(|name| json!({ "name": name, "price": "1.25" })).collect();
    recorded(stored(position, "tab.round_added", 1, json!({ "drinks": drinks })))
}

pub(crate) fn recorded(stored: StoredEvent) -> Arc<Recorded> {
    Arc::new(registry().decode(stored).expect("the event is one of the domain"))
}
