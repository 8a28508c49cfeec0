//! CQRS as one picture, working: the crate that applications name.

pub use model::{
    self, Aggregate, Change, Context, EventTypes, FoldError, Indexes, Key, KeyError, Keys, Money, MoneyError,
    Projection, Recorded, Refusal, Registry, RegistryError,
};
