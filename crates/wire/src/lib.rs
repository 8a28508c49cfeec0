//! Calls from one process of a system to another, for the network adapters of the boxes' contracts.
//!
//! A call is an HTTP/1.1 `POST` whose body and answer are [`Frame`]s: a JSON head and bytes that pass through unparsed. A
//! [`Caller`] knows the [`Instances`] of a role, prefers those that are ready, and tells a call that was not sent, which may
//! be made elsewhere, from one whose answer was lost, which may not. [`serve`] is the other end.
//!
//! Plain text, and so on loopback only: [`Endpoint::bind`] refuses any other address.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an adapter at the edge: it has tokio's sockets and tasks"
)]

mod caller; // one call, and what is known when it fails
mod error;
mod frame; // what a call and its answer look like
mod health; // asks instances whether they are ready
mod instances; // the addresses of a role, and which of them to call
mod server; // the other end

pub use self::{
    caller::{CallError, Caller, CallerLimits, ENDING, http_client},
    error::Error,
    frame::Frame,
    instances::Instances,
    server::{Answers, Endpoint, Responds, ServerLimits, serve, serve_http},
};
