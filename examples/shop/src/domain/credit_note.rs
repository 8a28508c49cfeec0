//! A credit note, which takes goods back: its id is the invoice that begins with `C`.

use diptych::{Aggregate, Context, EventTypes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, Flaw};
use crate::invoice::Invoice;

/// Whether there is such a credit note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditNote {
    /// It can be issued once.
    pub issued: bool,
}

/// What a credit note can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Command {
    /// Write it. Quantities are negative, or 0 where only the price is put right.
    Issue(Draft),
}

/// What happened to a credit note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// It was written.
    Issued(Invoice),
}

/// Why a credit note says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The invoice itself will not do.
    #[error(transparent)]
    Flawed(Flaw),
    /// A line sells goods.
    #[error("line {line} has {quantity} units: a credit note takes goods back, what is sold goes on an order")]
    PositiveQuantity {
        /// The line's number.
        line: u32,
        /// Its quantity.
        quantity: i64,
    },
    /// The number is taken.
    #[error("there is a credit note of this number already: give the new one another number")]
    AlreadyIssued,
}

impl diptych::Refusal for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.code(),
            Refusal::PositiveQuantity { .. } => "positive-quantity",
            Refusal::AlreadyIssued => "already-issued",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.title(),
            Refusal::PositiveQuantity { .. } => "A credit note has no positive quantities",
            Refusal::AlreadyIssued => "The credit note is already issued",
        }
    }
}

impl Aggregate for CreditNote {
    const NAME: &'static str = "credit_note";
    const STATE_VERSION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn events() -> EventTypes {
        EventTypes::new([("Issued", "credit_note.issued", 1)])
    }

    fn decide(&self, Command::Issue(draft): Command, _: &Context) -> Result<Vec<Event>, Refusal> {
        if self.issued {
            return Err(Refusal::AlreadyIssued);
        }
        let invoice = draft.accept().map_err(Refusal::Flawed)?;
        match invoice.lines.iter().find(|line| line.quantity > 0) {
            Some(line) => Err(Refusal::PositiveQuantity { line: line.line, quantity: line.quantity }),
            None => Ok(vec![Event::Issued(invoice)]),
        }
    }

    fn evolve(&mut self, Event::Issued(_): &Event) {
        self.issued = true;
    }
}
