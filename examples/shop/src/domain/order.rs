//! An order: its id is the invoice.

use diptych::{Aggregate, Context, EventTypes, Money};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, Flaw};
use crate::invoice::Invoice;

/// Longest note, in bytes.
const NOTE_BYTES_MAX: usize = 1_000;

/// What an order's decisions need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// `None` before it is placed.
    pub status: Option<Status>,
    /// What it comes to. Nothing or less where all was free or discounted: there is nothing to pay then.
    pub total: Money<3>,
    /// What has been paid of it.
    pub paid: Money<3>,
    /// Digest of the invoice, so that the same one is told from another under its number. Empty before it is placed.
    pub invoice: String,
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, extend("type" = "string"))]
pub enum Status {
    /// Taken down, and not paid in full.
    Placed,
    /// Paid in full.
    Paid,
    /// On its way.
    Shipped,
    /// With the customer.
    Delivered,
    /// Called off before it was shipped.
    Cancelled,
}

/// What an order can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Command {
    /// Take it down.
    Place(Draft),
    /// Take a payment for it, in full or in part.
    Pay {
        /// More than nothing, and at most what is due.
        amount: Money<3>,
        /// What the payer wrote with it.
        #[serde(default)]
        note: Option<String>,
    },
    /// Hand it to a carrier.
    Ship {
        /// Who brings it.
        carrier: Carrier,
        /// What the carrier has to know.
        #[serde(default)]
        note: Option<String>,
    },
    /// Note that it has arrived.
    Deliver,
    /// Call it off. Units and money stay in all figures until a credit note takes them back.
    Cancel,
}

/// Who brings an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// The post.
    Post,
    /// A courier.
    Courier,
    /// Nobody: the customer fetches it.
    Collection,
}

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// It was taken down.
    Placed(Invoice),
    /// A payment came in.
    Paid {
        /// How much.
        amount: Money<3>,
        /// What the payer wrote with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It is on its way.
    Shipped {
        /// Who brings it.
        carrier: Carrier,
        /// What the carrier has to know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It has arrived.
    Delivered,
    /// It was called off.
    Cancelled,
}

/// Why an order says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The invoice itself will not do.
    #[error(transparent)]
    Flawed(Flaw),
    /// A line gives goods back.
    #[error("line {line} has {quantity} units: what comes back goes on a credit note")]
    NegativeQuantity {
        /// The line's number.
        line: u32,
        /// Its quantity.
        quantity: i64,
    },
    /// It is there, as it was sent.
    #[error("there is this order already, and it cannot be placed again: if it is a new one, give it another number")]
    AlreadyPlaced,
    /// The number is taken by an order that says something else.
    #[error("there is an order of this number already, and it says something else: give this one another number")]
    PlacedOtherwise,
    /// There is no such order yet.
    #[error("there is no order of this number: place it first")]
    NotPlaced,
    /// It was called off.
    #[error("the order is cancelled: place another one")]
    Cancelled,
    /// Nothing is due.
    #[error("the order is paid in full: nothing is due")]
    AlreadyPaid,
    /// No payment at all.
    #[error("{amount} is no payment: pay more than nothing")]
    AmountNotPositive {
        /// What was to be paid.
        amount: Money<3>,
    },
    /// More than is due.
    #[error("{amount} is more than the {due} that are due: pay at most that")]
    Overpaid {
        /// What was to be paid.
        amount: Money<3>,
        /// What is due.
        due: Money<3>,
    },
    /// Money is due.
    #[error("{due} are due: pay them, then ship")]
    NotPaid {
        /// What is due.
        due: Money<3>,
    },
    /// It has left.
    #[error("the order has left: goods come back by a credit note")]
    AlreadyShipped,
    /// It has not left.
    #[error("the order is not on its way: ship it first")]
    NotShipped,
    /// It has arrived.
    #[error("the order was delivered before")]
    AlreadyDelivered,
}

impl diptych::Refusal for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.code(),
            Refusal::NegativeQuantity { .. } => "negative-quantity",
            Refusal::AlreadyPlaced => "already-placed",
            Refusal::PlacedOtherwise => "placed-otherwise",
            Refusal::NotPlaced => "not-placed",
            Refusal::Cancelled => "cancelled",
            Refusal::AlreadyPaid => "already-paid",
            Refusal::AmountNotPositive { .. } => "amount-not-positive",
            Refusal::Overpaid { .. } => "overpaid",
            Refusal::NotPaid { .. } => "not-paid",
            Refusal::AlreadyShipped => "already-shipped",
            Refusal::NotShipped => "not-shipped",
            Refusal::AlreadyDelivered => "already-delivered",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Refusal::Flawed(flaw) => flaw.title(),
            Refusal::NegativeQuantity { .. } => "An order has no negative quantities",
            Refusal::AlreadyPlaced => "The order is already placed",
            Refusal::PlacedOtherwise => "Another order has this number",
            Refusal::NotPlaced => "The order is not placed",
            Refusal::Cancelled => "The order is cancelled",
            Refusal::AlreadyPaid => "The order is already paid",
            Refusal::AmountNotPositive { .. } => "A payment is more than nothing",
            Refusal::Overpaid { .. } => "The payment is more than what is due",
            Refusal::NotPaid { .. } => "The order is not paid",
            Refusal::AlreadyShipped => "The order is already shipped",
            Refusal::NotShipped => "The order is not shipped",
            Refusal::AlreadyDelivered => "The order is already delivered",
        }
    }
}

impl Aggregate for Order {
    const NAME: &'static str = "order";
    const STATE_VERSION: u32 = 2;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn events() -> EventTypes {
        EventTypes::new([
            ("Placed", "order.placed", 1),
            ("Paid", "order.paid", 2),
            ("Shipped", "order.shipped", 2),
            ("Delivered", "order.delivered", 1),
            ("Cancelled", "order.cancelled", 1),
        ])
        // There were no notes at first; an event without one reads the same.
        .upcast("order.paid", 1, |event| event)
        .upcast("order.shipped", 1, |event| event)
    }

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Refusal> {
        let event = match (self.status, command) {
            (None, Command::Place(draft)) => Event::Placed(placed(draft)?),
            (Some(_), Command::Place(draft)) => {
                return Err(if draft.stands_for(&self.invoice) {
                    Refusal::AlreadyPlaced
                } else {
                    Refusal::PlacedOtherwise
                });
            }
            (None, _) => return Err(Refusal::NotPlaced),
            (Some(Status::Cancelled), _) => return Err(Refusal::Cancelled),
            (Some(_), Command::Pay { amount, note }) => {
                Event::Paid { amount: self.payable(amount)?, note: noted(note)? }
            }
            (Some(Status::Shipped | Status::Delivered), Command::Ship { .. } | Command::Cancel) => {
                return Err(Refusal::AlreadyShipped);
            }
            (Some(_), Command::Ship { .. }) if self.due() > Money::ZERO => {
                return Err(Refusal::NotPaid { due: self.due() });
            }
            (Some(_), Command::Ship { carrier, note }) => Event::Shipped { carrier, note: noted(note)? },
            (Some(_), Command::Cancel) => Event::Cancelled,
            (Some(Status::Shipped), Command::Deliver) => Event::Delivered,
            (Some(Status::Delivered), Command::Deliver) => return Err(Refusal::AlreadyDelivered),
            (Some(Status::Placed | Status::Paid), Command::Deliver) => return Err(Refusal::NotShipped),
        };
        Ok(vec![event])
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Placed(invoice) => {
                (self.status, self.total, self.invoice) = (Some(Status::Placed), invoice.total(), invoice.digest());
            }
            Event::Paid { amount, .. } => {
                self.paid += *amount;
                if self.paid >= self.total {
                    self.status = Some(Status::Paid);
                }
            }
            Event::Shipped { .. } => self.status = Some(Status::Shipped),
            Event::Delivered => self.status = Some(Status::Delivered),
            Event::Cancelled => self.status = Some(Status::Cancelled),
        }
    }
}

impl Order {
    fn due(&self) -> Money<3> {
        self.total - self.paid
    }

    fn payable(&self, amount: Money<3>) -> Result<Money<3>, Refusal> {
        let due = self.due();
        if amount <= Money::ZERO {
            Err(Refusal::AmountNotPositive { amount })
        } else if due <= Money::ZERO {
            Err(Refusal::AlreadyPaid)
        } else if amount > due {
            Err(Refusal::Overpaid { amount, due })
        } else {
            Ok(amount)
        }
    }
}

/// A note that says something, and not too much.
fn noted(note: Option<String>) -> Result<Option<String>, Refusal> {
    let note = note.filter(|note| !note.trim().is_empty());
    match note.as_ref().map_or(0, String::len) {
        bytes if bytes > NOTE_BYTES_MAX => {
            Err(Refusal::Flawed(Flaw::TextTooLong { field: "note", bytes, limit: NOTE_BYTES_MAX }))
        }
        _ => Ok(note),
    }
}

fn placed(draft: Draft) -> Result<Invoice, Refusal> {
    let invoice = draft.accept().map_err(Refusal::Flawed)?;
    match invoice.lines.iter().find(|line| line.quantity < 0) {
        Some(line) => Err(Refusal::NegativeQuantity { line: line.line, quantity: line.quantity }),
        None => Ok(invoice),
    }
}
