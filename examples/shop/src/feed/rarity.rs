//! What a made-up feed must contain at least once, however short it is.

use super::Reason;

/// A kind of invoice that ordinary luck might leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rarity {
    /// An order with one line more, which is refused for this reason.
    Refused(Reason),
    /// An order that also has a line of negative quantity.
    TwoClasses,
    /// An order whose lines carry two times.
    TwoTimes,
    /// An order whose lines fall on two days, which the real feed happens not to have.
    TwoDays,
    /// An order without a customer, one of its descriptions blank and one missing.
    Bare,
    /// An order with a price of nothing, one below nothing and one of a tenth of a penny.
    OddPrices,
    /// An order with blanks around a stock code, and commas and quotes in descriptions.
    OddTexts,
    /// A credit note.
    CreditNote,
    /// A credit note whose only line has a positive quantity.
    CreditNoteRefusedWhole,
    /// A correction of stock.
    Adjustment,
    /// An invoice that begins with `A`.
    BadDebt,
}

impl Rarity {
    /// All of them.
    pub(super) fn all() -> Vec<Rarity> {
        let refused = Reason::ALL.into_iter().map(Rarity::Refused);
        let others = [
            Rarity::TwoClasses,
            Rarity::TwoTimes,
            Rarity::TwoDays,
            Rarity::Bare,
            Rarity::OddPrices,
            Rarity::OddTexts,
            Rarity::CreditNote,
            Rarity::CreditNoteRefusedWhole,
            Rarity::Adjustment,
            Rarity::BadDebt,
        ];
        refused.chain(others).collect()
    }
}
