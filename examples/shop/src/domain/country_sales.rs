use diptych::{Change, FoldError, Indexes, Keys, Money, Projection, Recorded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sales::Sale;

/// Sales to one country.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountrySales {
    /// As invoices name it.
    pub country: String,
    /// Orders.
    pub orders: u64,
    /// Units ordered.
    pub units: i64,
    /// Quantity × price over order lines.
    pub gross: Money<3>,
    /// The same over credit-note lines, as what was given back.
    pub refunded: Money<3>,
    /// Gross less refunded.
    pub net: Money<3>,
}

impl Projection for CountrySales {
    const NAME: &'static str = "country_sales";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        Ok(Sale::of(event).map_or_else(Keys::none, |sale| Keys::one(sale.invoice().country.clone())))
    }

    fn fold(key: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let Some(sale) = Sale::of(event) else { return Ok(Change::Keep) };
        let sums = sale.sums(|_| true);
        let row = row.unwrap_or_else(|| Self { country: key.clone(), ..Self::default() });
        let (gross, refunded) = (row.gross + sums.gross, row.refunded + sums.refunded);
        let (orders, units) = (row.orders + sums.orders, row.units + sums.units);
        Ok(Change::Put(Self { orders, units, gross, refunded, net: gross - refunded, ..row }))
    }

    fn indexes() -> Indexes {
        Indexes::new().money("gross", 3).money("net", 3)
    }
}
