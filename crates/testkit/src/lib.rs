//! What a domain's tests call, and the conformance suites of the boxes' contracts.
//!
//! A domain is tested with [`given`] and [`row_after`], without any box. The implementation of a box is tested with its suite
//! in [`conformance`], over the small [`domain`] of this crate.

pub mod conformance;
pub mod domain;
pub mod lock;

mod domain_tests;
mod replaceable_store;

pub use self::{
    domain_tests::{Given, Happened, Then, given, happened, row_after},
    replaceable_store::ReplaceableStore,
};
