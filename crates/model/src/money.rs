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
/// Operators panic beyond 96 bits of digits, as overflow of integers does in debug builds: the boundary around a decision
/// or a fold turns that into an error. What a client sent is better added up by the checked methods, and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money<const SCALE: u32>(Decimal);

/// The text is no amount of this scale.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no amount: write digits, optionally a minus before them, and at most {scale} decimals")]
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

    /// The amount without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// The sum; `None` beyond 96 bits of digits, where a decimal would have to round.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::exact)
    }

    /// The difference; `None` beyond 96 bits of digits.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::exact)
    }

    /// So many times the amount; `None` beyond 96 bits of digits.
    #[must_use]
    pub fn checked_mul(self, count: i64) -> Option<Self> {
        self.0.checked_mul(Decimal::from(count)).and_then(Self::exact)
    }

    /// The amount with all its decimals. `rescale` stops short where there is no room for them: something was rounded.
    fn exact(mut amount: Decimal) -> Option<Self> {
        amount.rescale(SCALE);
        (amount.scale() == SCALE).then_some(Self(amount))
    }

    /// Whether `text` is spelt as the JSON Schema says. The parser behind it takes more: `+1`, `.5`, `1_000`.
    fn is_plain(text: &str) -> bool {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match text.strip_prefix('-').unwrap_or(text).split_once('.') {
            None => digits(text.strip_prefix('-').unwrap_or(text)),
            Some((whole, decimals)) => digits(whole) && digits(decimals) && decimals.len() <= SCALE as usize,
        }
    }
}

impl<const SCALE: u32> From<u32> for Money<SCALE> {
    fn from(whole: u32) -> Self {
        Self(Decimal::from(whole))
    }
}

impl<const SCALE: u32> FromStr for Money<SCALE> {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        if let Some(units) = units(text, SCALE) {
            return Ok(Self(Decimal::new(units, SCALE)));
        }
        let amount = if Self::is_plain(text) { Decimal::from_str_exact(text).ok() } else { None };
        let error = || MoneyError { text: text.chars().take(64).collect(), scale: SCALE };
        amount.and_then(Self::exact).ok_or_else(error)
    }
}

/// So many digits always fit into an `i64`.
const DIGITS_MAX: usize = 18;

/// `text` as a whole number of its smallest unit, with `scale` decimals; `None` for what is long or not spelt as [`Money`] is,
/// of which [`Decimal`] knows more.
pub(crate) fn units(text: &str, scale: u32) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    if whole.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let append = |units: i64, digit: u8| digit.is_ascii_digit().then(|| 10 * units + i64::from(digit - b'0'));
    let units = whole.bytes().chain(decimals.bytes()).try_fold(0, append)?;
    let missing = scale.checked_sub(decimals.len() as u32)?;
    let units = units.checked_mul(10_i64.checked_pow(missing)?)?;
    Some(if digits.len() < text.len() { -units } else { units })
}

/// Room for an amount's digits, point and sign.
type Text = [u8; DIGITS_MAX + 2];

impl<const SCALE: u32> Money<SCALE> {
    /// What [`Display`](fmt::Display) writes; `None` for an amount of many digits.
    fn written(self, text: &mut Text) -> Option<&str> {
        let mut amount = self.0;
        if amount.scale() != SCALE {
            amount.rescale(SCALE);
        }
        let units = i64::try_from(amount.mantissa()).ok()?;
        let (decimals, mut rest) = (SCALE as usize, units.unsigned_abs());
        if amount.scale() != SCALE || decimals >= DIGITS_MAX || rest >= 10_u64.pow(DIGITS_MAX as u32) {
            return None;
        }
        let (mut start, mut digits) = (text.len(), 0);
        while rest > 0 || digits <= decimals {
            if digits == decimals && decimals > 0 {
                start -= 1;
                text[start] = b'.';
            }
            start -= 1;
            text[start] = b'0' + (rest % 10) as u8;
            (rest, digits) = (rest / 10, digits + 1);
        }
        if units < 0 {
            start -= 1;
            text[start] = b'-';
        }
        std::str::from_utf8(&text[start..]).ok()
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
        // Events and rows are full of amounts, and formatting costs several times what their digits do.
        let mut text = Text::default();
        match self.written(&mut text) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(self),
        }
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

/// The operators' answer to an amount that does not fit: the decimals below would be rounded away without a word.
fn within_digits<T>(amount: Option<T>) -> T {
    amount.expect("an amount of money has at most 96 bits of digits")
}

impl<const SCALE: u32> Add for Money<SCALE> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        within_digits(self.checked_add(other))
    }
}

impl<const SCALE: u32> AddAssign for Money<SCALE> {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<const SCALE: u32> Sub for Money<SCALE> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        within_digits(self.checked_sub(other))
    }
}

impl<const SCALE: u32> SubAssign for Money<SCALE> {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
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
        within_digits(self.checked_mul(count))
    }
}

impl<const SCALE: u32> Sum for Money<SCALE> {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::{Money, units};

    fn money(text: &str) -> Money<3> {
        text.parse().expect("the test writes amounts")
    }

    #[test]
    fn an_amount_is_written_with_all_its_decimals_and_without_a_sign_at_zero() {
        for (read, written) in
            [("0", "0.000"), ("-0", "0.000"), ("-0.00", "0.000"), ("2.1", "2.100"), ("-53594.36", "-53594.360")]
        {
            assert_eq!(money(read).to_string(), written, "{read}");
        }
        assert_eq!((Money::<3>::ZERO * -12).to_string(), "0.000");
    }

    #[test]
    fn an_amount_is_the_same_whichever_way_it_is_read_and_written() {
        let longest = "-79228162514264337593543950.335";
        for text in ["7", "-7.5", "0.001", "-0.001", "10.010", "999999999999999.999", "-1000000000000000.000", longest]
        {
            let amount = money(text);
            let decimal: Decimal = text.parse().expect("a decimal");
            assert_eq!(amount.0, decimal, "{text}");
            assert_eq!(serde_json::to_string(&amount).expect("JSON"), format!("\"{amount}\""), "{text}");
        }
        assert_eq!(serde_json::to_string(&Money::<0>::from(12)).expect("JSON"), "\"12\"");
        assert_eq!(serde_json::to_string(&Money::<3>::from(12)).expect("JSON"), "\"12.000\"");
        assert_eq!(units("1.5", 3), Some(1_500));
        assert_eq!(units("1.5", 0), None);
    }

    #[test]
    fn what_the_schema_does_not_allow_is_refused() {
        for text in ["", "-", ".5", "5.", "1e3", "+1", "--1", "1_000", "1,5", "0.0001", "0.0000", " 1"] {
            assert!(text.parse::<Money<3>>().is_err(), "{text:?}");
        }
        assert!("1".repeat(40).parse::<Money<3>>().is_err());
    }

    #[test]
    fn a_json_number_is_refused() {
        assert!(serde_json::from_str::<Money<3>>("6.95").is_err());
        assert_eq!(serde_json::from_str::<Money<3>>("\"6.95\"").expect("a string"), money("6.950"));
    }

    #[test]
    fn checked_arithmetic_is_exact_or_has_no_answer() {
        let great = money("79228162514264337593543950.335");
        assert_eq!(money("0.001").checked_mul(3), Some(money("0.003")));
        assert_eq!(great.checked_add(money("0.001")), None);
        assert_eq!(great.checked_mul(2), None);
        assert_eq!(great.checked_mul(i64::MAX), None);
        assert_eq!(great.checked_sub(money("0.335")), Some(money("79228162514264337593543950")));
    }
}
