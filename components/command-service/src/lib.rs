//! Command Service: decodes, decides, appends, relays.
//!
//! The API Gateway sends a [`CommandRequest`] to [`CommandService::execute`] and gets a [`CommandOutcome`]. [`Executor`] is the
//! implementation in memory, [`RemoteCommandService`] the way to it from another process; [`Relay`] carries what it committed to the Message Queue.

mod complete; // from the store's outcome to an answer
mod config;
mod contract; // the request, the outcome, and what every implementation must promise
mod decide; // from a command to an append
mod executor; // the front door: looks at a request and finds its shard
mod gate; // how many commands are under way
mod job; // one command on its way
mod load; // from the log into memory
mod mailbox; // what a shard is sent
mod network; // the service in other processes
mod refusal; // a refusal as it is stored
mod relay; // from the log to the queue
mod replay; // the stored outcome of a command, told again
mod shard; // one task: decides the commands of its streams in order
mod streams; // the states in memory
mod telemetry;

pub use self::{
    config::Config,
    contract::{AcceptedEvent, CommandOutcome, CommandRequest, CommandService, Precondition, UnavailableReason},
    executor::Executor,
    network::{CommandEndpoint, RemoteCommandService},
    relay::{Relay, RelayConfig},
    telemetry::Metrics,
};
/// Part of a [`CommandRequest`]: whoever makes one need not know the database.
pub use command_database::Idempotency;
