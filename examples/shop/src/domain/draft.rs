use std::{collections::BTreeSet, num::NonZeroU32};

use diptych::Money;
use jiff::civil::DateTime;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::invoice::{Invoice, Line};

/// Most lines of an invoice.
const LINES_MAX: usize = 5_000;
/// Longest customer, country or stock code, in bytes: each becomes the key of a row, where percent-encoding may triple it
/// and 256 is the limit.
const KEY_BYTES_MAX: usize = 80;
/// Longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 4_096;
/// Most units of an invoice, each line's counted without its sign. Rows add them up in 64 bits.
const UNITS_MAX: u64 = 1_000_000_000;
/// Greatest sum of an invoice in pounds, each line's amount counted without its sign. Rows are sorted by their sums in
/// thousandths and 64 bits, which millions of such invoices do not fill.
const AMOUNT_MAX: u32 = 1_000_000_000;
/// Years that a line's time may fall in. A day is the key of a row, spelt with four digits.
const YEARS: std::ops::RangeInclusive<i16> = 1..=9_998;

/// An invoice as a client sends it: the fields of `place`, `issue` and `record`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Whom the invoice is for; absent or null on a sale over the counter.
    #[serde(default)]
    pub customer: Option<String>,
    /// Where the customer is.
    pub country: String,
    /// At least one.
    pub lines: Vec<DraftLine>,
}

/// One line of a [`Draft`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftLine {
    /// Place among the lines of the invoice; by default it is counted from 1.
    #[serde(default)]
    pub line: Option<NonZeroU32>,
    /// What is sold.
    pub stock_code: String,
    /// What it is called.
    #[serde(default)]
    pub description: Option<String>,
    /// Units.
    pub quantity: i64,
    /// Price of one unit.
    pub price: Money<3>,
    /// Civil time, no zone: `2009-12-01T07:45:00`, or a day alone, which means its midnight.
    pub time: DateTime,
}

/// Why a draft is no invoice, whichever aggregate it was sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// No lines.
    #[error("the invoice has no lines: send at least one")]
    Empty,
    /// Too many lines.
    #[error("the invoice has {lines} lines, the limit is {LINES_MAX}: split it")]
    TooManyLines {
        /// How many.
        lines: usize,
    },
    /// A field that must say something is blank.
    #[error("{field} is blank: name it")]
    Blank {
        /// The field.
        field: &'static str,
    },
    /// A text is too long.
    #[error("{field} has {bytes} bytes, the limit is {limit}")]
    TextTooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Two lines have one number.
    #[error("two lines have the number {line}: number each once, or none")]
    LineRepeated {
        /// The number.
        line: u32,
    },
    /// A time that no row could hold.
    #[error("line {line} is of the year {year}, not one from {} to {}", YEARS.start(), YEARS.end())]
    TimeOutOfRange {
        /// The line's number.
        line: u32,
        /// The year.
        year: i16,
    },
    /// Too many units, or too much money.
    #[error("the invoice has more than {UNITS_MAX} units or comes to more than {AMOUNT_MAX} pounds: split it")]
    TooLarge,
}

impl Flaw {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Flaw::Empty => "empty",
            Flaw::TooManyLines { .. } => "too-many-lines",
            Flaw::Blank { .. } => "blank",
            Flaw::TextTooLong { .. } => "text-too-long",
            Flaw::LineRepeated { .. } => "line-repeated",
            Flaw::TimeOutOfRange { .. } => "time-out-of-range",
            Flaw::TooLarge => "too-large",
        }
    }

    pub(super) fn title(&self) -> &'static str {
        match self {
            Flaw::Empty => "The invoice has no lines",
            Flaw::TooManyLines { .. } => "The invoice has too many lines",
            Flaw::Blank { .. } => "A field that must say something is blank",
            Flaw::TextTooLong { .. } => "A text is too long",
            Flaw::LineRepeated { .. } => "Two lines have the same number",
            Flaw::TimeOutOfRange { .. } => "A time is out of range",
            Flaw::TooLarge => "The invoice is too large",
        }
    }
}

impl Draft {
    /// The invoice that this stands for: blanks gone from the ends of codes and names, blank texts absent, lines numbered.
    pub(super) fn accept(self) -> Result<Invoice, Flaw> {
        let lines = self.lines.len();
        match lines {
            0 => return Err(Flaw::Empty),
            1..=LINES_MAX => {}
            _ => return Err(Flaw::TooManyLines { lines }),
        }
        let customer = match self.customer {
            Some(customer) if !customer.trim().is_empty() => Some(key("customer", &customer)?),
            _ => None,
        };
        let country = key("country", &self.country)?;
        let lines = (1..).zip(self.lines).map(|(ordinal, line)| line.accept(ordinal)).collect::<Result<Vec<_>, _>>()?;
        let mut numbers = BTreeSet::new();
        if let Some(line) = lines.iter().find(|line| !numbers.insert(line.line)) {
            return Err(Flaw::LineRepeated { line: line.line });
        }
        if within_bounds(&lines) { Ok(Invoice { customer, country, lines }) } else { Err(Flaw::TooLarge) }
    }
}

impl Draft {
    /// Whether this is the invoice of this digest, sent again. What is no invoice at all stands for none.
    pub(super) fn stands_for(self, digest: &str) -> bool {
        self.accept().is_ok_and(|invoice| invoice.digest() == digest)
    }
}

impl DraftLine {
    fn accept(self, ordinal: u32) -> Result<Line, Flaw> {
        let line = self.line.map_or(ordinal, NonZeroU32::get);
        let stock_code = key("stock_code", &self.stock_code)?;
        let description = self.description.filter(|text| !text.trim().is_empty());
        if let Some(bytes) = description.as_ref().map(String::len).filter(|bytes| *bytes > DESCRIPTION_BYTES_MAX) {
            return Err(Flaw::TextTooLong { field: "description", bytes, limit: DESCRIPTION_BYTES_MAX });
        }
        if !YEARS.contains(&self.time.year()) {
            return Err(Flaw::TimeOutOfRange { line, year: self.time.year() });
        }
        Ok(Line { line, stock_code, description, quantity: self.quantity, price: self.price, time: self.time })
    }
}

fn key(field: &'static str, text: &str) -> Result<String, Flaw> {
    match text.trim() {
        "" => Err(Flaw::Blank { field }),
        key if key.len() > KEY_BYTES_MAX => Err(Flaw::TextTooLong { field, bytes: key.len(), limit: KEY_BYTES_MAX }),
        key => Ok(key.to_owned()),
    }
}

/// Whether all sums over the lines, here and in the rows, are safe to make.
fn within_bounds(lines: &[Line]) -> bool {
    let (mut units, mut amount) = (0_u64, Money::<3>::ZERO);
    for line in lines {
        let more = line.price.checked_mul(line.quantity).and_then(|more| amount.checked_add(more.abs()));
        let Some(sum) = more else { return false };
        (units, amount) = (units.saturating_add(line.quantity.unsigned_abs()), sum);
    }
    units <= UNITS_MAX && amount <= AMOUNT_MAX.into()
}
