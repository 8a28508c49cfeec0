//! A correction of books or stock, which counts in no sales figure: its id is the invoice.

use diptych::{Aggregate, Context, EventTypes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, Flaw};
use crate::invoice::Invoice;

/// Whether there is such an adjustment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adjustment {
    /// It can be recorded once.
    pub recorded: bool,
}

/// What an adjustment can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Command {
    /// Write it down. Quantities and prices have either sign.
    Record(Draft),
}

/// What happened to an adjustment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// It was written down.
    Recorded(Invoice),
}

/// Why an adjustment says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The invoice itself will not do.
    #[error(transparent)]
    Flawed(Flaw),
    /// The number is taken.
    #[error("there is an adjustment of this number already: give the new one another number")]
    AlreadyRecorded,
}

impl diptych::Refusal for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.code(),
            Refusal::AlreadyRecorded => "already-recorded",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.title(),
            Refusal::AlreadyRecorded => "The adjustment is already recorded",
        }
    }
}

impl Aggregate for Adjustment {
    const NAME: &'static str = "adjustment";
    const STATE_VERSION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn events() -> EventTypes {
        EventTypes::new([("Recorded", "adjustment.recorded", 1)])
    }

    fn decide(&self, Command::Record(draft): Command, _: &Context) -> Result<Vec<Event>, Refusal> {
        if self.recorded {
            return Err(Refusal::AlreadyRecorded);
        }
        Ok(vec![Event::Recorded(draft.accept().map_err(Refusal::Flawed)?)])
    }

    fn evolve(&mut self, Event::Recorded(_): &Event) {
        self.recorded = true;
    }
}
