use std::collections::BTreeSet;

use diptych::{Change, FoldError, Indexes, Keys, Money, Projection, Recorded};
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sales::Sale;

/// Sales of one day: of the lines that fall on it, where an invoice runs past midnight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DailySales {
    /// The day, `YYYY-MM-DD`.
    pub date: String,
    /// Orders with a line on this day.
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

impl Projection for DailySales {
    const NAME: &'static str = "daily_sales";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        let days = |sale: Sale<'_>| sale.invoice().lines.iter().map(|line| line.time.date()).collect::<BTreeSet<_>>();
        Ok(Sale::of(event).map(days).unwrap_or_default().iter().map(Date::to_string).collect())
    }

    fn fold(key: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let Some(sale) = Sale::of(event) else { return Ok(Change::Keep) };
        let day: Date = key.parse().map_err(|error| FoldError::new(format!("{key} is no day: {error}")))?;
        let sums = sale.sums(|line| line.time.date() == day);
        let row = row.unwrap_or_else(|| Self { date: key.clone(), ..Self::default() });
        let (gross, refunded) = (row.gross + sums.gross, row.refunded + sums.refunded);
        let (orders, units) = (row.orders + sums.orders, row.units + sums.units);
        Ok(Change::Put(Self { orders, units, gross, refunded, net: gross - refunded, ..row }))
    }

    fn indexes() -> Indexes {
        Indexes::new().time("date").money("gross", 3)
    }
}
