//! Calls between two ends of this process, over real sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "talks to sockets, as an edge does")]

mod authority;
mod calls;
mod tls;
