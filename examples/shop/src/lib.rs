//! A wholesaler's order book.
//!
//! [`domain`] decides what becomes of orders, credit notes and adjustments, and folds the read models; [`invoice`] is what
//! all of these say. [`feed`] turns a file of transaction lines into commands, and makes such files up; [`import`] sends them.

pub mod domain;
pub mod feed;
pub mod import;
pub mod invoice;

use diptych::{Registry, RegistryError};

use crate::domain::{
    CountrySales, CustomerValue, DailySales, OrderSummary, ProductSales, adjustment::Adjustment,
    credit_note::CreditNote, order::Order,
};

/// All that the shop declares.
///
/// # Errors
/// None, as long as its declarations are right, which a test sees to.
pub fn registry() -> Result<Registry, RegistryError> {
    Registry::new()
        .aggregate::<Order>()?
        .aggregate::<CreditNote>()?
        .aggregate::<Adjustment>()?
        .projection::<OrderSummary>()?
        .projection::<ProductSales>()?
        .projection::<CustomerValue>()?
        .projection::<CountrySales>()?
        .projection::<DailySales>()
}
