//! The Command Service over the real log.

mod conformance;
mod support;
