//! The queue in process, by the contract's suite and by what is its own.

mod conformance;
mod in_process;
