//! The load balancer as its neighbours meet it: gateways as services behind it, clients as bytes on a real socket.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "clients are outside: real sockets, real time")]

mod support;

mod drain;
mod forwarding;
mod limits;
mod remote;
mod spreading;
mod strictness;
mod telemetry;
mod tls;
