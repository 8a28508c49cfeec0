use diptych::{Change, FoldError, Indexes, Keys, Money, Projection, Recorded};
use jiff::civil::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::{Event, Order, Status};
use crate::invoice::Invoice;

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderSummary {
    /// The order's id.
    pub invoice: String,
    /// Whom it is for; null on a sale over the counter.
    pub customer: Option<String>,
    /// Where the customer is.
    pub country: String,
    /// How far it has come.
    pub status: Status,
    /// How many lines it has.
    pub lines: u64,
    /// Units of all lines. A cancellation leaves them.
    pub units: i64,
    /// Quantity × price over all lines. A cancellation leaves it.
    pub total: Money<3>,
    /// What has been paid of it.
    pub paid: Money<3>,
    /// Earliest time of its lines.
    pub placed_at: DateTime,
}

impl Projection for OrderSummary {
    const NAME: &'static str = "order_summary";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        Ok(event.of::<Order>().map_or_else(Keys::none, |_| Keys::one(event.id().to_owned())))
    }

    fn fold(key: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let Some(event) = event.of::<Order>() else { return Ok(Change::Keep) };
        if let Event::Placed(invoice) = event {
            return placed(key, invoice).map(Change::Put);
        }
        let row =
            row.ok_or_else(|| FoldError::new("the order has no row, expected order.placed as its first event"))?;
        Ok(match event {
            Event::Placed(_) => Change::Keep,
            Event::Paid { amount, .. } => Change::Put(row.after_payment(*amount)),
            Event::Shipped { .. } => Change::Put(Self { status: Status::Shipped, ..row }),
            Event::Delivered => Change::Put(Self { status: Status::Delivered, ..row }),
            Event::Cancelled => Change::Put(Self { status: Status::Cancelled, ..row }),
        })
    }

    fn indexes() -> Indexes {
        Indexes::new().text("status").text("customer").text("country").time("placed_at").money("total", 3)
    }
}

impl OrderSummary {
    fn after_payment(self, amount: Money<3>) -> Self {
        let paid = self.paid + amount;
        let status = if paid >= self.total { Status::Paid } else { self.status };
        Self { paid, status, ..self }
    }
}

fn placed(invoice: &str, content: &Invoice) -> Result<OrderSummary, FoldError> {
    let placed_at =
        content.placed_at().ok_or_else(|| FoldError::new("order.placed has no lines, expected at least one"))?;
    Ok(OrderSummary {
        invoice: invoice.to_owned(),
        customer: content.customer.clone(),
        country: content.country.clone(),
        status: Status::Placed,
        lines: content.lines.len() as u64,
        units: content.units(),
        total: content.total(),
        paid: Money::ZERO,
        placed_at,
    })
}
