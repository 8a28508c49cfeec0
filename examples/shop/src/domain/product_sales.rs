use diptych::{Change, FoldError, Indexes, Keys, Money, Projection, Recorded};
use jiff::civil::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sales::Sale;
use crate::invoice::Invoice;

/// Sales of one product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductSales {
    /// As lines name it.
    pub stock_code: String,
    /// Units on order lines.
    pub units_sold: i64,
    /// Units that came back on credit-note lines.
    pub units_returned: i64,
    /// Quantity × price over order lines.
    pub gross: Money<3>,
    /// The same over credit-note lines, as what was given back.
    pub refunded: Money<3>,
    /// Orders with a line of it.
    pub orders: u64,
    /// The latest text, blanks and all; null as long as all are blank.
    pub description: Option<String>,
    /// The line that the text is from.
    pub described_by: Option<Described>,
}

/// Where a description is from. The greatest wins, so that it does not matter which came first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Described {
    /// Time of the line.
    pub time: DateTime,
    /// Invoice of the line.
    pub invoice: String,
    /// Number of the line.
    pub line: u32,
}

impl Projection for ProductSales {
    const NAME: &'static str = "product_sales";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        let codes = |sale: Sale<'_>| sale.invoice().lines.iter().map(|line| line.stock_code.clone()).collect();
        Ok(Sale::of(event).map_or_else(Keys::none, codes))
    }

    fn fold(key: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let Some(sale) = Sale::of(event) else { return Ok(Change::Keep) };
        let sums = sale.sums(|line| line.stock_code == *key);
        let row = row.unwrap_or_else(|| Self { stock_code: key.clone(), ..Self::default() });
        let before = row.described_by.zip(row.description);
        // The text itself comes last: an order and a credit note could bear one number, and their lines tie.
        let (described_by, description) =
            before.into_iter().chain(described(key, event.id(), sale.invoice())).max().unzip();
        Ok(Change::Put(Self {
            units_sold: row.units_sold + sums.units,
            units_returned: row.units_returned + sums.units_returned,
            gross: row.gross + sums.gross,
            refunded: row.refunded + sums.refunded,
            orders: row.orders + sums.orders,
            stock_code: row.stock_code,
            description,
            described_by,
        }))
    }

    fn indexes() -> Indexes {
        Indexes::new().integer("units_sold").money("gross", 3)
    }
}

/// The greatest of the invoice's lines of this product that say what it is called.
fn described(stock_code: &str, invoice: &str, content: &Invoice) -> Option<(Described, String)> {
    let lines = content.lines.iter().filter(|line| line.stock_code == stock_code);
    let texts = lines.filter_map(|line| Some((line.time, line.line, line.description.as_ref()?)));
    texts.max().map(|(time, line, text)| (Described { time, invoice: invoice.to_owned(), line }, text.clone()))
}
