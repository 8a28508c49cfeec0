//! Calls from one process of a system to another, for the network adapters of the boxes' contracts.
//!
//! A call is an HTTP/1.1 `POST` whose body and answer are [`Frame`]s: a JSON head and bytes that pass through unparsed. A
//! [`Caller`] knows the [`Instances`] of a role, prefers those that are healthy, and tells a call by which nothing was done,
//! which may be made elsewhere, from one whose answer was lost, which may not. [`serve`] is the other end.
//!
//! Under [`MutualTls`] both ends prove which role they have. Without it there is plain text, on loopback only: other addresses
//! are neither listened to ([`Endpoint::bind`]) nor called.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an adapter at the edge: it has tokio's sockets and tasks"
)]

mod budget; // how many requests may be sent again
mod caller; // one call, and what is known when it fails
mod connector; // how a connection to an instance is made
mod ejection; // when an instance that fails is left out, and how it comes back
mod error;
mod frame; // what a call and its answer look like
mod health; // asks instances whether they are ready
mod instance; // one of them: ready, ejected, and what it has in hand
mod instances; // the addresses of a role, and which of them to call
mod server; // the other end
mod skew; // how far other clocks are from ours
mod stream; // a connection, plain or under TLS
mod tls; // certificates, roles, handshakes
mod weight; // of a key with an instance

pub use self::{
    budget::Budget,
    caller::{Call, CallError, Caller, CallerLimits, ENDING, http_client, is_unsent},
    connector::Connector,
    ejection::{EjectionLimits, Sending},
    error::Error,
    frame::Frame,
    instance::{Attempt, Candidate, Instance, Part, Standing, Verdict},
    instances::{By, Instances},
    server::{Answers, Endpoint, Responds, ServerLimits, Unanswered, serve, serve_http},
    skew::Skew,
    stream::Stream,
    tls::{Authorities, ClientTls, Identity, MutualTls, PemFile, ServerTls, handshake_failure},
};
