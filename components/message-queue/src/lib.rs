//! Message Queue: carries committed events from the relay to the Event Handler.
//!
//! A tail buffer, never the only copy: it may lose, repeat or reorder what it likes, and readers go back to the log.

mod error;
mod queue;

pub use self::{
    error::Error,
    queue::{Acknowledged, Delivery, MessageQueue, QueueLife, Subscription},
};
