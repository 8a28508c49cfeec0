//! What the read models must hold, computed straight from the CSV.
//!
//! Nothing here uses the shop's own code: whatever both got wrong in the same way would stay unseen. So this has its own
//! reading, its own classes, and money as whole thousandths of a pound instead of decimals.

mod models;
mod source;

use serde_json::Value;

pub(crate) use self::{
    models::{Models, models},
    source::{Entry, Kind, Source, read},
};

/// Thousandths of a pound, as the text with three decimals that JSON carries.
pub(crate) fn pounds(thousandths: i128) -> String {
    let sign = if thousandths < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", thousandths.unsigned_abs() / 1000, thousandths.unsigned_abs() % 1000)
}

/// Fails unless the shop's row agrees in every field that the oracle knows: a row may have more.
pub(crate) fn assert_row(read_model: &str, key: &str, row: Option<&Value>, expected: &Value) {
    let row = row.unwrap_or_else(|| panic!("{read_model} has no row {key}"));
    for (field, expected) in expected.as_object().expect("a row is an object") {
        assert_eq!(row.get(field), Some(expected), "{field} of {key} in {read_model}");
    }
}

#[test]
fn pounds_have_three_decimals() {
    for (thousandths, text) in
        [(0, "0.000"), (5, "0.005"), (-50, "-0.050"), (6_950, "6.950"), (-1_000_001, "-1000.001")]
    {
        assert_eq!(pounds(thousandths), text);
    }
}
