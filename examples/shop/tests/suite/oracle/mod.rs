//! What the read models must hold, computed straight from the CSV.
//!
//! Nothing here uses the shop's own code: whatever both got wrong in the same way would stay unseen. So this has its own
//! reading, its own classes, and money as whole thousandths of a pound instead of decimals.

mod models;
mod source;

pub(crate) use self::{
    models::{Models, models},
    source::{Entry, Kind, Source, read},
};

/// Thousandths of a pound, as the text with three decimals that JSON carries.
pub(crate) fn pounds(thousandths: i128) -> String {
    let sign = if thousandths < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", thousandths.unsigned_abs() / 1000, thousandths.unsigned_abs() % 1000)
}

#[test]
fn pounds_have_three_decimals() {
    for (thousandths, text) in
        [(0, "0.000"), (5, "0.005"), (-50, "-0.050"), (6_950, "6.950"), (-1_000_001, "-1000.001")]
    {
        assert_eq!(pounds(thousandths), text);
    }
}
