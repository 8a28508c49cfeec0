//! The smallest whole application: counters that go up, and a row for each.
use std::{convert::Infallible, process::ExitCode};

use diptych::{Aggregate, App, Change, Context, EventTypes, FoldError, Indexes, Keys, Projection, Recorded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Counter {}

#[derive(Deserialize, JsonSchema)]
enum Command {
    Add { amount: u32 },
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Event {
    Added { amount: u32 },
}

impl Aggregate for Counter {
    const NAME: &'static str = "counter";
    const STATE_VERSION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Refusal = Infallible;
    fn events() -> EventTypes {
        EventTypes::new([("Added", "counter.added", 1)])
    }
    fn decide(&self, Command::Add { amount }: Command, _: &Context) -> Result<Vec<Event>, Infallible> {
        Ok(vec![Event::Added { amount }])
    }
    fn evolve(&mut self, _: &Event) {}
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Total {
    counter: String,
    total: u64,
}

impl Projection for Total {
    const NAME: &'static str = "total";
    const VERSION: u32 = 1;
    type Key = String;
    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        Ok(Keys::one(event.id().to_owned()))
    }
    fn fold(counter: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let Some(Event::Added { amount }) = event.of::<Counter>() else { return Ok(Change::Keep) };
        Ok(Change::Put(Self { counter: counter.clone(), total: row.map_or(0, |row| row.total) + u64::from(*amount) }))
    }
    fn indexes() -> Indexes {
        Indexes::new().integer("total")
    }
}

fn main() -> ExitCode {
    App::new("counter").aggregate::<Counter>().projection::<Total>().run()
}
