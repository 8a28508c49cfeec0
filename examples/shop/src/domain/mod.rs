//! What the shop decides and what it can be asked.
//!
//! [`order`], [`credit_note`] and [`adjustment`] are the aggregates: each takes a [`Draft`] and makes an
//! [`Invoice`](crate::invoice::Invoice) of it. The others are the read models, one file each.
//!
//! The rows do not depend on the order in which invoices come, nor on when they do: what a fold needs is in the lines.

pub mod adjustment;
pub mod credit_note;
pub mod order;

mod draft;
mod sales;

mod country_sales;
mod customer_value;
mod daily_sales;
mod order_summary;
mod product_sales;

pub use self::{
    country_sales::CountrySales,
    customer_value::CustomerValue,
    daily_sales::DailySales,
    draft::{Draft, DraftLine, Flaw},
    order_summary::OrderSummary,
    product_sales::{Described, ProductSales},
};
