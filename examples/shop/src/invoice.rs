//! What an invoice says: the payload of `order.placed`, `credit_note.issued` and `adjustment.recorded` alike.

use diptych::{Money, model::Hash};
use jiff::civil::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An invoice without its number, which is the id of the aggregate that received it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invoice {
    /// Whom the invoice is for; absent on a sale over the counter.
    #[serde(default)]
    pub customer: Option<String>,
    /// Where the customer is.
    pub country: String,
    /// At least one, in the order of [`Line::line`].
    pub lines: Vec<Line>,
}

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Place among all lines of the invoice, from 1. A number may be missing: its line belongs to another aggregate or was
    /// refused. It travels with the command, so that what depends on it does not depend on when the command came.
    pub line: u32,
    /// What was sold, without blanks at its ends.
    pub stock_code: String,
    /// The text as the source wrote it; absent if it was blank.
    #[serde(default)]
    pub description: Option<String>,
    /// Units; negative where they came back.
    pub quantity: i64,
    /// Price of one unit.
    pub price: Money<3>,
    /// Civil time of the line, no zone. Lines of one invoice may differ.
    pub time: DateTime,
}

impl Invoice {
    /// Sum of all lines.
    #[must_use]
    pub fn total(&self) -> Money<3> {
        self.lines.iter().map(Line::amount).sum()
    }

    /// Units of all lines.
    #[must_use]
    pub fn units(&self) -> i64 {
        self.lines.iter().map(|line| line.quantity).sum()
    }

    /// Earliest time of a line; `None` without lines, which no accepted invoice is.
    #[must_use]
    pub fn placed_at(&self) -> Option<DateTime> {
        self.lines.iter().map(|line| line.time).min()
    }
}

impl Invoice {
    /// Tells invoices that differ in anything: the SHA-256 of their JSON, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        // Strings for keys and no fractions: there is nothing in an invoice that JSON could not hold.
        Hash::of(&serde_json::to_vec(self).unwrap_or_default()).to_string()
    }
}

impl Line {
    /// Quantity × price.
    #[must_use]
    pub fn amount(&self) -> Money<3> {
        self.price * self.quantity
    }
}
