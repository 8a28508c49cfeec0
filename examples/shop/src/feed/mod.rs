//! The feed: a CSV file with one transaction line each line, as [Online Retail II] publishes its years.
//!
//! [`Feed`] reads it line by line, [`submissions`] makes commands of it, [`generate`] makes such a file up.
//! A line that cannot be used is never dropped: it comes out with its number and a [`Reason`].
//!
//! [Online Retail II]: https://doi.org/10.24432/C5CG6D

mod catalogue;
mod cli;
mod error;
mod fields;
mod generate;
mod lines;
mod rarity;
mod reader;
mod reason;
mod submissions;

pub use self::{
    cli::{command, run},
    error::Error,
    fields::{Class, Sale},
    generate::{INVOICES_MAX, generate},
    reader::{Feed, Reading},
    reason::Reason,
    submissions::{Import, Refused, Submission, submissions},
};

/// The header that a feed must begin with.
pub const COLUMNS: [&str; 8] =
    ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"];
