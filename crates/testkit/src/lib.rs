//! What a domain's tests call, and the conformance suites of the boxes' contracts.

pub mod lock;
