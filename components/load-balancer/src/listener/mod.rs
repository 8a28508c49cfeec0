//! The edge adapter: HTTP/1.1 on TCP by hyper, with what hyper leaves open closed.
//!
//! Between the socket and hyper stands a [`gate`](self::gate): it sees where each head begins and ends, so that a head's
//! time runs from its first byte and not from the last answer, and it refuses what two parsers could read differently.
//! No request arms a timer: connections note when they want to be looked at, and one sweep looks at all of them.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "sockets stay outside of what a simulator owns"
)]

mod awake; // a connection that wakes itself
mod connection; // one connection from its accept to its close
mod connections; // all of them: caps, sweep, drain
mod enter; // the handshake before it
mod gate; // between socket and hyper
mod head; // where a head ends, and whether it may pass
mod limits;
mod serve; // bind, accept, drain
mod watch; // what a connection and the sweep tell each other

pub use self::{
    limits::Limits,
    serve::{Drained, Listener, Protection, serve},
};
