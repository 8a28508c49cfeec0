//! A small domain for the tests of the boxes: accounts, and a ledger that shows whether every event came once and in order.

mod account;
mod ledger;

pub use self::{
    account::{Account, Command, Event, Refusal},
    ledger::Ledger,
};

/// The registry of this domain.
///
/// # Panics
/// Never: the declarations are right.
#[must_use]
pub fn registry() -> model::Registry {
    let registry = model::Registry::new().aggregate::<Account>();
    registry.and_then(model::Registry::projection::<Ledger>).expect("the test domain is declared as it should be")
}
