//! A correction of books or stock, which counts in no sales figure: its id is the invoice.

use diptych::{Aggregate, Context, EventTypes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, Flaw};
use crate::invoice::Invoice;

/// Whether there is such an adjustment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adjustment {
    /// Digest of the invoice; `None` before it is recorded, which can be done once.
    pub invoice: Option<String>,
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
    /// It is there, as it was sent.
    #[error("there is this adjustment already: if it is a new one, give it another number")]
    AlreadyRecorded,
    /// The number is taken by an adjustment that says something else.
    #[error("there is an adjustment of this number already, and it says something else: give this one another number")]
    RecordedOtherwise,
}

impl diptych::Refusal for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.code(),
            Refusal::AlreadyRecorded => "already-recorded",
            Refusal::RecordedOtherwise => "recorded-otherwise",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.title(),
            Refusal::AlreadyRecorded => "The adjustment is already recorded",
            Refusal::RecordedOtherwise => "Another adjustment has this number",
        }
    }
}

impl Aggregate for Adjustment {
    const NAME: &'static str = "adjustment";
    const STATE_VERSION: u32 = 2;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn events() -> EventTypes {
        EventTypes::new([("Recorded", "adjustment.recorded", 1)])
    }

    fn decide(&self, Command::Record(draft): Command, _: &Context) -> Result<Vec<Event>, Refusal> {
        if let Some(invoice) = &self.invoice {
            return Err(if draft.stands_for(invoice) { Refusal::AlreadyRecorded } else { Refusal::RecordedOtherwise });
        }
        Ok(vec![Event::Recorded(draft.accept().map_err(Refusal::Flawed)?)])
    }

    fn evolve(&mut self, Event::Recorded(invoice): &Event) {
        self.invoice = Some(invoice.digest());
    }
}
