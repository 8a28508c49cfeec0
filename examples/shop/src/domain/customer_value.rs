use diptych::{Change, FoldError, Indexes, Keys, Money, Projection, Recorded};
use jiff::civil::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sales::Sale;

/// What one customer is worth. Sales over the counter, which name none, are in no row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerValue {
    /// As invoices name it.
    pub customer: String,
    /// How many.
    pub orders: u64,
    /// Quantity × price over order lines.
    pub gross: Money<3>,
    /// The same over credit-note lines, as what was given back.
    pub refunded: Money<3>,
    /// Gross less refunded.
    pub net: Money<3>,
    /// When the earliest order was placed; null without orders.
    pub first_order: Option<DateTime>,
    /// When the latest order was placed; null without orders.
    pub last_order: Option<DateTime>,
}

impl Projection for CustomerValue {
    const NAME: &'static str = "customer_value";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        let customer = Sale::of(event).and_then(|sale| sale.invoice().customer.clone());
        Ok(customer.map_or_else(Keys::none, Keys::one))
    }

    fn fold(key: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let Some(sale) = Sale::of(event) else { return Ok(Change::Keep) };
        let sums = sale.sums(|_| true);
        let placed_at = match sale {
            Sale::Order(invoice) => invoice.placed_at(),
            Sale::CreditNote(_) => None,
        };
        let row = row.unwrap_or_else(|| Self { customer: key.clone(), ..Self::default() });
        let (gross, refunded) = (row.gross + sums.gross, row.refunded + sums.refunded);
        Ok(Change::Put(Self {
            orders: row.orders + sums.orders,
            gross,
            refunded,
            net: gross - refunded,
            first_order: row.first_order.into_iter().chain(placed_at).min(),
            last_order: row.last_order.into_iter().chain(placed_at).max(),
            ..row
        }))
    }

    fn indexes() -> Indexes {
        Indexes::new().integer("orders").time("last_order").money("net", 3)
    }
}
