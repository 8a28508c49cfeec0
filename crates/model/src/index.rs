use std::fmt;

use jiff::{Timestamp, civil, tz::TimeZone};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

/// How an indexed field is stored beside its row, so that the engine's order is the domain's order. NULLs sort last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexKind {
    /// Text in binary collation.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// An exact amount as a whole number of its smallest unit.
    Money {
        /// Decimals that the amount has.
        scale: u32,
    },
    /// A point in time, a civil date and time, or a civil date, as microseconds.
    Time,
    /// False before true.
    Boolean,
}

impl fmt::Display for IndexKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => formatter.write_str("text"),
            Self::Integer => formatter.write_str("integer"),
            Self::Money { scale } => write!(formatter, "money with {scale} decimals"),
            Self::Time => formatter.write_str("time"),
            Self::Boolean => formatter.write_str("true or false"),
        }
    }
}

/// One value of an index column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexValue {
    /// The row's field is null or absent.
    Null,
    /// Everything but text.
    Integer(i64),
    /// Text.
    Text(String),
}

impl IndexKind {
    /// The stored form of `text`, a field's value as JSON spells it without quotes. `None` where it is no value of this kind.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<IndexValue> {
        match self {
            Self::Text => Some(IndexValue::Text(text.to_owned())),
            Self::Integer => text.parse().ok().map(IndexValue::Integer),
            Self::Money { scale } => scaled(text, scale).map(IndexValue::Integer),
            Self::Time => microseconds(text).map(IndexValue::Integer),
            Self::Boolean => text.parse().ok().map(|truth: bool| IndexValue::Integer(truth.into())),
        }
    }
}

fn scaled(text: &str, scale: u32) -> Option<i64> {
    let amount = Decimal::from_str_exact(text).ok()?.normalize();
    if amount.scale() > scale {
        return None;
    }
    amount.checked_mul(Decimal::from(10_i64.checked_pow(scale)?))?.to_i64()
}

fn microseconds(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let civil = match text.parse::<civil::DateTime>() {
        Ok(civil) => civil,
        Err(_) => text.parse::<civil::Date>().ok()?.to_datetime(civil::Time::midnight()),
    };
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_microsecond())
}

/// A field by which lists can be filtered and sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The field's name in the row.
    pub field: String,
    /// How it is stored and compared.
    pub kind: IndexKind,
}

/// The declared indexes of a read model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(pub(crate) Vec<Index>);

impl Indexes {
    /// None: the read model is found by key only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A field of text.
    #[must_use]
    pub fn text(self, field: &str) -> Self {
        self.with(field, IndexKind::Text)
    }

    /// A field of whole numbers.
    #[must_use]
    pub fn integer(self, field: &str) -> Self {
        self.with(field, IndexKind::Integer)
    }

    /// A field of [`Money`](crate::Money) with `scale` decimals.
    #[must_use]
    pub fn money(self, field: &str, scale: u32) -> Self {
        self.with(field, IndexKind::Money { scale })
    }

    /// A field with a timestamp (RFC 3339), a civil date and time, or a civil date.
    #[must_use]
    pub fn time(self, field: &str) -> Self {
        self.with(field, IndexKind::Time)
    }

    /// A field that is true or false.
    #[must_use]
    pub fn boolean(self, field: &str) -> Self {
        self.with(field, IndexKind::Boolean)
    }

    fn with(mut self, field: &str, kind: IndexKind) -> Self {
        self.0.push(Index { field: field.to_owned(), kind });
        self
    }
}
