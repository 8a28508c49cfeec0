//! A credit note, which takes goods back: its id is the invoice that begins with `C`.

use diptych::{Aggregate, Context, EventTypes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, Flaw};
use crate::invoice::Invoice;

/// Whether there is such a credit note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditNote {
    /// Digest of the invoice; `None` before it is issued, which can be done once.
    pub invoice: Option<String>,
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
    /// It is there, as it was sent.
    #[error("there is this credit note already: if it is a new one, give it another number")]
    AlreadyIssued,
    /// The number is taken by a credit note that says something else.
    #[error("there is a credit note of this number already, and it says something else: give this one another number")]
    IssuedOtherwise,
}

impl diptych::Refusal for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.code(),
            Refusal::PositiveQuantity { .. } => "positive-quantity",
            Refusal::AlreadyIssued => "already-issued",
            Refusal::IssuedOtherwise => "issued-otherwise",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.title(),
            Refusal::PositiveQuantity { .. } => "A credit note has no positive quantities",
            Refusal::AlreadyIssued => "The credit note is already issued",
            Refusal::IssuedOtherwise => "Another credit note has this number",
        }
    }
}

impl Aggregate for CreditNote {
    const NAME: &'static str = "credit_note";
    const STATE_VERSION: u32 = 2;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn events() -> EventTypes {
        EventTypes::new([("Issued", "credit_note.issued", 1)])
    }

    fn decide(&self, Command::Issue(draft): Command, _: &Context) -> Result<Vec<Event>, Refusal> {
        if let Some(invoice) = &self.invoice {
            return Err(if draft.stands_for(invoice) { Refusal::AlreadyIssued } else { Refusal::IssuedOtherwise });
        }
        let invoice = draft.accept().map_err(Refusal::Flawed)?;
        match invoice.lines.iter().find(|line| line.quantity > 0) {
            Some(line) => Err(Refusal::PositiveQuantity { line: line.line, quantity: line.quantity }),
            None => Ok(vec![Event::Issued(invoice)]),
        }
    }

    fn evolve(&mut self, Event::Issued(invoice): &Event) {
        self.invoice = Some(invoice.digest());
    }
}
