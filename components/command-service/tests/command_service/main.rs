//! The Command Service over the real log.

mod conformance;
mod draining;
mod failing_log;
mod faulty;
mod memory;
mod network;
mod racing;
mod relay;
mod support;
mod telemetry;
