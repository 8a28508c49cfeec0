//! CQRS as one picture, working: the crate that applications name.
