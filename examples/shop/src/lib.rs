//! A wholesaler's order book.
//!
//! [`invoice`] and [`money`] are the words that commands, events and the feed share; [`feed`] turns a file of transaction
//! lines into commands, and makes such files up.

pub mod feed;
pub mod invoice;
pub mod money;
