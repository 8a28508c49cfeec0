//! Pounds sterling, exact to a tenth of a penny.

use std::{borrow::Cow, fmt, str::FromStr};

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Decimals that an amount has, in memory, in JSON and on the screen.
const DECIMALS: u32 = 3;

/// Digits before the point. Together with the decimals they stay below the 28 that [`Decimal`] keeps without rounding.
const INTEGER_DIGITS_MAX: usize = 21;

/// What every amount stays below: 10 to the power of [`INTEGER_DIGITS_MAX`].
const LIMIT: Decimal = Decimal::from_parts(0xDEA0_0000, 0x35C9_ADC5, 0x36, false, 0);

/// An exact amount: a decimal string with three decimals in JSON, never a number, which would pass through a float.
///
/// Arithmetic answers `None` instead of rounding or panicking when a result would reach 10²¹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount: write digits, optionally a minus before them, and at most three decimals, as in \"6.95\"")]
pub struct NotMoney;

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(Decimal::ZERO);

    /// The sum, unless it is out of range.
    #[must_use]
    pub fn plus(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).and_then(Money::within_range)
    }

    /// The difference, unless it is out of range.
    #[must_use]
    pub fn minus(self, other: Money) -> Option<Money> {
        self.0.checked_sub(other.0).and_then(Money::within_range)
    }

    /// This price for so many units, unless the product is out of range.
    #[must_use]
    pub fn times(self, quantity: i64) -> Option<Money> {
        self.0.checked_mul(Decimal::from(quantity)).and_then(Money::within_range)
    }

    /// Whether the amount is at most so many pounds, of either sign.
    #[must_use]
    pub fn is_within(self, pounds: u32) -> bool {
        self.0.abs() <= Decimal::from(pounds)
    }

    fn within_range(amount: Decimal) -> Option<Money> {
        (amount.abs() < LIMIT).then_some(Money(amount))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Minus nothing times a price keeps its sign in a decimal; a row must not tell how its zero came about.
        let mut amount = if self.0.is_zero() { Decimal::ZERO } else { self.0 };
        amount.rescale(DECIMALS);
        write!(formatter, "{amount}")
    }
}

impl FromStr for Money {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Money, NotMoney> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (integer, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(integer)
            || !plain(decimals)
            || integer.len() > INTEGER_DIGITS_MAX
            || decimals.len() > DECIMALS as usize
        {
            return Err(NotMoney);
        }
        text.parse().map(Money).map_err(|_| NotMoney)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        struct Amount;
        impl de::Visitor<'_> for Amount {
            type Value = Money;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an amount as a decimal string with at most three decimals, such as \"6.950\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Money, E> {
                text.parse().map_err(|_: NotMoney| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Amount)
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An exact amount in pounds sterling, with at most three decimals",
            "pattern": r"^-?[0-9]{1,21}(\.[0-9]{1,3})?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Money;

    fn money(text: &str) -> Money {
        text.parse().expect("the test writes amounts")
    }

    #[test]
    fn an_amount_is_written_with_three_decimals_and_without_a_sign_at_zero() {
        for (read, written) in
            [("0", "0.000"), ("-0", "0.000"), ("-0.00", "0.000"), ("2.1", "2.100"), ("-53594.36", "-53594.360")]
        {
            assert_eq!(money(read).to_string(), written, "{read}");
        }
        assert_eq!(Money::ZERO.times(-12).map(|amount| amount.to_string()).as_deref(), Some("0.000"));
    }

    #[test]
    fn what_is_no_plain_decimal_of_three_places_is_refused() {
        for text in ["", "-", ".5", "5.", "1e3", "+1", "1_000", "1,5", "0.0001", " 1", "1234567890123456789012"] {
            assert!(text.parse::<Money>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_json_number_is_refused() {
        assert!(serde_json::from_str::<Money>("6.95").is_err());
        assert_eq!(serde_json::from_str::<Money>("\"6.95\"").expect("a string"), money("6.950"));
    }

    #[test]
    fn arithmetic_is_exact_or_has_no_answer() {
        let greatest = money("999999999999999999999.999");
        assert_eq!(money("0.001").times(3), Some(money("0.003")));
        assert_eq!(greatest.plus(money("0.001")), None);
        assert_eq!(greatest.times(2), None);
        assert_eq!(greatest.minus(money("0.001")), Some(money("999999999999999999999.998")));
    }
}
