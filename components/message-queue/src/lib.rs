//! Message Queue: carries committed events from the relay to the Event Handler.
//!
//! A tail buffer, never the only copy: it may lose, repeat or reorder what it likes, and readers go back to the log.

mod cloud_event;
mod error;
mod in_process;
mod jetstream;
mod message;
mod queue;
mod ring;
mod telemetry;

pub use self::{
    error::Error,
    in_process::{Fault, InProcessConfig, InProcessQueue},
    jetstream::{Credentials, JetStreamConfig, JetStreamQueue, Tls},
    message::message_id,
    queue::{Acknowledged, Delivery, MessageQueue, QueueLife, Subscription},
    telemetry::Metrics,
};
