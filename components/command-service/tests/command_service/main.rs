//! The Command Service over the real log.

mod conformance;
mod relay;
mod support;
