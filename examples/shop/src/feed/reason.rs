use std::fmt;

/// Why a line of a feed was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// More than 4,096 bytes.
    LineTooLong,
    /// A quoted field does not end on its line.
    QuoteUnclosed,
    /// Not eight columns; an empty line too.
    Columns,
    /// A field is not UTF-8.
    Encoding,
    /// No invoice number.
    InvoiceMissing,
    /// No stock code.
    StockCodeMissing,
    /// No country.
    CountryMissing,
    /// Invoice, stock code, customer or country has more than 80 bytes.
    KeyTooLong,
    /// Not a whole number, or out of range.
    QuantityInvalid,
    /// Not a civil time of the form `2009-12-01 07:45:00`.
    TimeInvalid,
    /// Not a decimal with at most three places, or out of range.
    PriceInvalid,
    /// A credit note takes goods back: a positive quantity has no place on it.
    CreditNotePositiveQuantity,
    /// Another customer than the first accepted line of the same invoice and class.
    CustomerDiffers,
    /// Another country than the first accepted line of the same invoice and class.
    CountryDiffers,
}

impl Reason {
    /// Every reason, in the order in which a line is checked.
    pub const ALL: [Reason; 14] = [
        Reason::LineTooLong,
        Reason::QuoteUnclosed,
        Reason::Columns,
        Reason::Encoding,
        Reason::InvoiceMissing,
        Reason::StockCodeMissing,
        Reason::CountryMissing,
        Reason::KeyTooLong,
        Reason::QuantityInvalid,
        Reason::TimeInvalid,
        Reason::PriceInvalid,
        Reason::CreditNotePositiveQuantity,
        Reason::CustomerDiffers,
        Reason::CountryDiffers,
    ];

    /// The stable code, as tables and files of refused lines show it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Reason::LineTooLong => "line-too-long",
            Reason::QuoteUnclosed => "quote-unclosed",
            Reason::Columns => "columns",
            Reason::Encoding => "encoding",
            Reason::InvoiceMissing => "invoice-missing",
            Reason::StockCodeMissing => "stock-code-missing",
            Reason::CountryMissing => "country-missing",
            Reason::KeyTooLong => "key-too-long",
            Reason::QuantityInvalid => "quantity-invalid",
            Reason::TimeInvalid => "time-invalid",
            Reason::PriceInvalid => "price-invalid",
            Reason::CreditNotePositiveQuantity => "credit-note-positive-quantity",
            Reason::CustomerDiffers => "customer-differs",
            Reason::CountryDiffers => "country-differs",
        }
    }
}

impl Reason {
    /// What is wrong, for people.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Reason::LineTooLong => "the line has more than 4096 bytes",
            Reason::QuoteUnclosed => "a quoted field does not end on its line",
            Reason::Columns => "the line has not eight columns",
            Reason::Encoding => "a field is not UTF-8",
            Reason::InvoiceMissing => "there is no invoice number",
            Reason::StockCodeMissing => "there is no stock code",
            Reason::CountryMissing => "there is no country",
            Reason::KeyTooLong => "invoice, stock code, customer or country has more than 80 bytes",
            Reason::QuantityInvalid => "the quantity is no whole number, or out of range",
            Reason::TimeInvalid => "the time is not of the form 2009-12-01 07:45:00",
            Reason::PriceInvalid => "the price is no decimal with at most three places, or out of range",
            Reason::CreditNotePositiveQuantity => "a credit note takes goods back, this line sells some",
            Reason::CustomerDiffers => "the first line of this invoice names another customer",
            Reason::CountryDiffers => "the first line of this invoice names another country",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}
