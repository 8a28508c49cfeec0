//! What the shop decides and shows, without any box around it.

pub(crate) mod log;
mod orders;
mod read_models;
mod refusals;
mod whole_feed;
