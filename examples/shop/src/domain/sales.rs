use diptych::{Money, Recorded};

use super::{
    credit_note::{self, CreditNote},
    order::{self, Order},
};
use crate::invoice::{Invoice, Line};

/// An event that counts in sales figures.
pub(super) enum Sale<'a> {
    Order(&'a Invoice),
    CreditNote(&'a Invoice),
}

/// What the lines of one sale add to one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// 1 if any line of an order belongs to the row.
    pub(super) orders: u64,
    pub(super) units: i64,
    pub(super) gross: Money<3>,
    pub(super) units_returned: i64,
    pub(super) refunded: Money<3>,
}

impl<'a> Sale<'a> {
    /// `None` for all that counts in no sales figure: adjustments, and what becomes of an order once it is placed.
    pub(super) fn of(event: &'a Recorded) -> Option<Self> {
        if let Some(order::Event::Placed(invoice)) = event.of::<Order>() {
            return Some(Sale::Order(invoice));
        }
        let credit_note::Event::Issued(invoice) = event.of::<CreditNote>()?;
        Some(Sale::CreditNote(invoice))
    }

    pub(super) fn invoice(&self) -> &'a Invoice {
        match self {
            Sale::Order(invoice) | Sale::CreditNote(invoice) => invoice,
        }
    }

    /// Sums over the lines that belong to the row. An accepted invoice is small enough for them; see `draft`.
    pub(super) fn sums(&self, belongs: impl Fn(&Line) -> bool) -> Sums {
        let lines = || self.invoice().lines.iter().filter(|line| belongs(line));
        let units: i64 = lines().map(|line| line.quantity).sum();
        let amount: Money<3> = lines().map(Line::amount).sum();
        match self {
            Sale::Order(_) => {
                let orders = u64::from(lines().next().is_some());
                Sums { orders, units, gross: amount, ..Sums::default() }
            }
            Sale::CreditNote(_) => Sums { units_returned: -units, refunded: -amount, ..Sums::default() },
        }
    }
}
