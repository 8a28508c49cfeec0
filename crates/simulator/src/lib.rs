//! One seed, one thread, virtual time: the boxes up to their edge adapters.
//!
//! [`protocol_model`] is the protocol between log and read model at the size of a toy: the place to learn it.

pub mod protocol_model;
