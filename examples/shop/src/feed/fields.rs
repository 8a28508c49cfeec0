//! Fields to a sale: what a line says, and which aggregate it is for.

use csv::ByteRecord;
use diptych::Money;
use jiff::civil::DateTime;

use super::{COLUMNS, Reason};

/// Longest invoice, stock code, customer or country, in bytes. Each becomes the key of a row, where percent-encoding may
/// triple it and 256 is the limit.
pub(super) const KEY_BYTES_MAX: usize = 80;

/// Greatest quantity, of either sign. Millions of lines of this and [`PRICE_MAX`] still sum up within the range of [`Money`].
const QUANTITY_MAX: i64 = 1_000_000_000;
/// Greatest price in pounds, of either sign.
const PRICE_MAX: u32 = 1_000_000_000;

/// What a line is part of. The prefix of the invoice decides first, then the sign of the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A sale.
    Order,
    /// Goods taken back, on an invoice that begins with `C`.
    CreditNote,
    /// A correction of books or stock, which counts in no sales figure.
    Adjustment,
}

impl Class {
    /// Name of the aggregate that receives the invoice.
    #[must_use]
    pub fn aggregate(self) -> &'static str {
        match self {
            Class::Order => "order",
            Class::CreditNote => "credit_note",
            Class::Adjustment => "adjustment",
        }
    }

    /// Name of the command that brings it.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Class::Order => "place",
            Class::CreditNote => "issue",
            Class::Adjustment => "record",
        }
    }

    /// The prefix is exactly `A` or `C`: a small letter is part of an ordinary number.
    fn of(invoice: &str, quantity: i64) -> Result<Class, Reason> {
        match invoice.as_bytes().first() {
            Some(b'A') => Ok(Class::Adjustment),
            Some(b'C') if quantity > 0 => Err(Reason::CreditNotePositiveQuantity),
            Some(b'C') => Ok(Class::CreditNote),
            _ if quantity < 0 => Ok(Class::Adjustment),
            _ => Ok(Class::Order),
        }
    }
}

/// A line that can be used. Texts have no blanks at their ends, but for the description, which is as the feed has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// What the line is part of.
    pub class: Class,
    /// The product.
    pub stock_code: String,
    /// Absent if blank.
    pub description: Option<String>,
    /// Units.
    pub quantity: i64,
    /// Civil time.
    pub time: DateTime,
    /// Price of one unit.
    pub price: Money<3>,
    /// Absent if blank.
    pub customer: Option<String>,
    /// Of the customer.
    pub country: String,
}

/// The invoice that a line names, if it can be read at all.
pub(super) fn invoice(record: &ByteRecord) -> Option<&str> {
    if record.len() != COLUMNS.len() {
        return None;
    }
    let invoice = std::str::from_utf8(&record[0]).ok()?.trim();
    (!invoice.is_empty() && invoice.len() <= KEY_BYTES_MAX).then_some(invoice)
}

/// Reads the fields of one line; the first thing wrong with it is the reason.
pub(super) fn sale(record: &ByteRecord) -> Result<Sale, Reason> {
    let [invoice, stock_code, description, quantity, time, price, customer, country] = texts(record)?;
    let [invoice, stock_code, customer, country] = [invoice, stock_code, customer, country].map(str::trim);
    let required =
        [(invoice, Reason::InvoiceMissing), (stock_code, Reason::StockCodeMissing), (country, Reason::CountryMissing)];
    if let Some((_, reason)) = required.iter().find(|(text, _)| text.is_empty()) {
        return Err(*reason);
    }
    if [invoice, stock_code, customer, country].iter().any(|text| text.len() > KEY_BYTES_MAX) {
        return Err(Reason::KeyTooLong);
    }
    let quantity = parse_quantity(quantity.trim())?;
    let time = parse_time(time.trim())?;
    let price = parse_price(price.trim())?;
    let text = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
    Ok(Sale {
        class: Class::of(invoice, quantity)?,
        stock_code: stock_code.to_owned(),
        description: text(description),
        quantity,
        time,
        price,
        customer: text(customer),
        country: country.to_owned(),
    })
}

fn texts(record: &ByteRecord) -> Result<[&str; COLUMNS.len()], Reason> {
    if record.len() != COLUMNS.len() {
        return Err(Reason::Columns);
    }
    let mut texts = [""; COLUMNS.len()];
    for (text, field) in texts.iter_mut().zip(record) {
        *text = std::str::from_utf8(field).map_err(|_| Reason::Encoding)?;
    }
    Ok(texts)
}

fn parse_quantity(text: &str) -> Result<i64, Reason> {
    let quantity = text.parse().map_err(|_| Reason::QuantityInvalid)?;
    if (-QUANTITY_MAX..=QUANTITY_MAX).contains(&quantity) { Ok(quantity) } else { Err(Reason::QuantityInvalid) }
}

fn parse_time(text: &str) -> Result<DateTime, Reason> {
    // The parser takes many forms, and a 60th second as the 59th; a feed has one form.
    let bytes = text.as_bytes();
    if bytes.len() != "2009-12-01 07:45:00".len() || bytes[10] != b' ' || bytes.ends_with(b":60") {
        return Err(Reason::TimeInvalid);
    }
    text.parse().map_err(|_| Reason::TimeInvalid)
}

fn parse_price(text: &str) -> Result<Money<3>, Reason> {
    let price: Money<3> = text.parse().map_err(|_| Reason::PriceInvalid)?;
    if price.abs() <= PRICE_MAX.into() { Ok(price) } else { Err(Reason::PriceInvalid) }
}

#[cfg(test)]
mod tests {
    use csv::ByteRecord;

    use super::{Class, KEY_BYTES_MAX, Reason, Sale, sale};

    const GOOD: [&str; 8] =
        ["489434", "85048", "15CM BALL", "12", "2009-12-01 07:45:00", "6.95", "13085", "United Kingdom"];

    fn with(column: usize, text: &str) -> Result<Sale, Reason> {
        let mut fields = GOOD;
        fields[column] = text;
        sale(&ByteRecord::from(fields.to_vec()))
    }

    #[test]
    fn the_prefix_decides_first_and_the_sign_of_the_quantity_second() {
        for (invoice, quantity, class) in [
            ("489434", 1, Ok(Class::Order)),
            ("489434", 0, Ok(Class::Order)),
            ("489434", -1, Ok(Class::Adjustment)),
            ("A506401", 1, Ok(Class::Adjustment)),
            ("A506401", -1, Ok(Class::Adjustment)),
            ("C489449", -1, Ok(Class::CreditNote)),
            ("C489449", 0, Ok(Class::CreditNote)),
            ("C496350", 1, Err(Reason::CreditNotePositiveQuantity)),
            ("c489449", -1, Ok(Class::Adjustment)),
            ("c489449", 1, Ok(Class::Order)),
        ] {
            assert_eq!(Class::of(invoice, quantity), class, "{invoice}, {quantity} units");
        }
    }

    #[test]
    fn a_bad_field_has_its_reason() {
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        for (column, text, reason) in [
            (0, "  ", Reason::InvoiceMissing),
            (0, long.as_str(), Reason::KeyTooLong),
            (1, "", Reason::StockCodeMissing),
            (3, "", Reason::QuantityInvalid),
            (3, "1.5", Reason::QuantityInvalid),
            (3, "1000000001", Reason::QuantityInvalid),
            (4, "2009-12-01", Reason::TimeInvalid),
            (4, "2009-12-01 07:45:60", Reason::TimeInvalid),
            (4, "2009-13-01 07:45:00", Reason::TimeInvalid),
            (4, "2009-12-01T07:45:00", Reason::TimeInvalid),
            (4, "12/1/2009 07:45 AM!", Reason::TimeInvalid),
            (5, "6.9501", Reason::PriceInvalid),
            (5, "£6.95", Reason::PriceInvalid),
            (5, "1000000000.001", Reason::PriceInvalid),
            (6, long.as_str(), Reason::KeyTooLong),
            (7, " ", Reason::CountryMissing),
        ] {
            assert_eq!(with(column, text).err(), Some(reason), "{text:?}");
        }
        assert_eq!(sale(&ByteRecord::from(GOOD[..7].to_vec())), Err(Reason::Columns));
        assert_eq!(sale(&ByteRecord::from(vec![b"\xA3".as_slice(); 8])), Err(Reason::Encoding));
    }

    #[test]
    fn blanks_go_from_the_ends_of_codes_and_stay_in_descriptions() {
        assert_eq!(with(1, " 47503J ").map(|sale| sale.stock_code), Ok("47503J".to_owned()));
        assert_eq!(with(1, "BANK  CHARGES").map(|sale| sale.stock_code), Ok("BANK  CHARGES".to_owned()));
        assert_eq!(with(2, " BALL ").map(|sale| sale.description), Ok(Some(" BALL ".to_owned())));
        assert_eq!(with(2, "  ").map(|sale| sale.description), Ok(None));
        assert_eq!(with(6, " ").map(|sale| sale.customer), Ok(None));
    }
}
