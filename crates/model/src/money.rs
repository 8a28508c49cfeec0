use std::{
    borrow::Cow,
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign},
    str::FromStr,
};

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An exact amount with `SCALE` decimals; in JSON a string such as `"4.500"`, never a number.
///
/// ```
/// use model::Money;
/// let price: Money<3> = "4.5".parse()?;
/// assert_eq!((price * 2).to_string(), "9.000");
/// assert!("0.0001".parse::<Money<3>>().is_err());
/// # Ok::<(), model::MoneyError>(())
/// ```
/// # Panics
/// Arithmetic panics beyond 96 bits of digits, as overflow of integers does in debug builds: the boundary around a decision
/// or a fold turns that into an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money<const SCALE: u32>(Decimal);

/// The text is no amount of this scale.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a decimal number with at most {scale} decimals")]
pub struct MoneyError {
    text: String,
    scale: u32,
}

impl<const SCALE: u32> Money<SCALE> {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Whether it is less than nothing.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self < Self::ZERO
    }
}

impl<const SCALE: u32> FromStr for Money<SCALE> {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let error = || MoneyError { text: text.chars().take(64).collect(), scale: SCALE };
        let mut amount = Decimal::from_str_exact(text).map_err(|_| error())?.normalize();
        if amount.scale() > SCALE {
            return Err(error());
        }
        amount.rescale(SCALE);
        // Too many digits to hold the scale as well: `rescale` stops short of it then.
        if amount.scale() == SCALE { Ok(Self(amount)) } else { Err(error()) }
    }
}

impl<const SCALE: u32> fmt::Display for Money<SCALE> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut amount = self.0;
        amount.rescale(SCALE);
        // A negative zero would print a sign that means nothing.
        if amount.is_zero() {
            amount.set_sign_positive(true);
        }
        amount.fmt(formatter)
    }
}

impl<const SCALE: u32> Serialize for Money<SCALE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const SCALE: u32> Deserialize<'de> for Money<SCALE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const SCALE: u32>;
        impl<const SCALE: u32> de::Visitor<'_> for Text<SCALE> {
            type Value = Money<SCALE>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a string with a decimal number of at most {SCALE} decimals")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<const SCALE: u32> JsonSchema for Money<SCALE> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Money{SCALE}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = format!("^-?[0-9]+(\\.[0-9]{{1,{SCALE}}})?$");
        json_schema!({ "type": "string", "format": "decimal", "pattern": pattern, "x-scale": SCALE })
    }
}

impl<const SCALE: u32> Add for Money<SCALE> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl<const SCALE: u32> AddAssign for Money<SCALE> {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl<const SCALE: u32> Sub for Money<SCALE> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl<const SCALE: u32> SubAssign for Money<SCALE> {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl<const SCALE: u32> Neg for Money<SCALE> {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl<const SCALE: u32> Mul<i64> for Money<SCALE> {
    type Output = Self;
    fn mul(self, count: i64) -> Self {
        Self(self.0 * Decimal::from(count))
    }
}

impl<const SCALE: u32> Sum for Money<SCALE> {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}
