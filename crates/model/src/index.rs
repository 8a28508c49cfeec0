use std::fmt;

use jiff::{Timestamp, civil, tz::Offset};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

use crate::money;

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
    if let Some(units) = money::units(text, scale) {
        return Some(units);
    }
    let amount = Decimal::from_str_exact(text).ok()?.normalize();
    if amount.scale() > scale {
        return None;
    }
    amount.checked_mul(Decimal::from(10_i64.checked_pow(scale)?))?.to_i64()
}

fn microseconds(text: &str) -> Option<i64> {
    if let Some(civil) = whole_seconds(text.as_bytes()) {
        return Offset::UTC.to_timestamp(civil).ok().map(Timestamp::as_microsecond);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let civil = match text.parse::<civil::DateTime>() {
        Ok(civil) => civil,
        Err(_) => text.parse::<civil::Date>().ok()?.to_datetime(civil::Time::midnight()),
    };
    Offset::UTC.to_timestamp(civil).ok().map(Timestamp::as_microsecond)
}

/// A civil time as it is nearly always spelt, such as `2009-12-01T07:45:00`; of what else there is the parser knows more.
fn whole_seconds(text: &[u8]) -> Option<civil::DateTime> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] = *text else {
        return None;
    };
    let number = |digits: &[u8]| {
        let append = |number: i16, digit: &u8| digit.is_ascii_digit().then(|| 10 * number + i16::from(digit - b'0'));
        digits.iter().try_fold(0, append)
    };
    let pair = |one, two| number(&[one, two]).and_then(|number| i8::try_from(number).ok());
    let (month, day) = (pair(m1, m2)?, pair(d1, d2)?);
    let (hour, minute, second) = (pair(h1, h2)?, pair(n1, n2)?, pair(s1, s2)?);
    civil::DateTime::new(number(&[y1, y2, y3, y4])?, month, day, hour, minute, second, 0).ok()
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

#[cfg(test)]
mod tests {
    use jiff::{civil, tz::TimeZone};

    use super::{IndexKind, IndexValue};

    #[test]
    fn a_civil_time_is_the_same_index_value_whichever_way_it_is_read() {
        for text in ["2009-12-01T07:45:00", "0001-01-01T00:00:00", "2024-02-29T23:59:59", "2009-12-01T07:45:00.5"] {
            let civil: civil::DateTime = text.parse().expect("a civil time");
            let zoned = civil.to_zoned(TimeZone::UTC).expect("within range");
            let expected = IndexValue::Integer(zoned.timestamp().as_microsecond());
            assert_eq!(IndexKind::Time.parse(text), Some(expected), "{text}");
        }
        for text in ["2023-02-29T00:00:00", "2009-13-01T00:00:00", "2009-12-01T24:00:00", "2009-12-01Txx:00:00"] {
            assert_eq!(IndexKind::Time.parse(text), None, "{text}");
        }
    }
}
