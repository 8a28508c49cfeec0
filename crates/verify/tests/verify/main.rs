//! What `verify` finds in a log and in rows that were really written, and then damaged by hand.

mod clean;
mod domain;
mod log;
mod measure;
mod postgres;
mod rows;
mod system;
