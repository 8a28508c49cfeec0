//! Command Service: decodes, decides, appends, relays.
//!
//! The API Gateway sends a [`CommandRequest`] to [`CommandService::execute`] and gets a [`CommandOutcome`].

mod contract;

pub use self::contract::{
    AcceptedEvent, CommandOutcome, CommandRequest, CommandService, Precondition, UnavailableReason,
};
/// Part of a [`CommandRequest`]: whoever makes one need not know the database.
pub use command_database::Idempotency;
