//! API Gateway: routes commands and queries, and alone maps outcomes to HTTP.
//!
//! [`ApiGateway`] is a `tower` service from request to response. It never fails: whatever goes wrong is an answer, and every
//! error is `application/problem+json` (RFC 9457) under a stable code that has a page at `/errors/<code>`.

mod command; // a request becomes a command
mod command_answer; // what became of it becomes a response
mod config;
mod consistency; // the token in, the `Consistency` header out
mod gateway; // what surrounds every request: limits, identity, panics, metrics
mod header; // building and splitting header values
mod idempotency; // the key of a command and what was sent under it
mod identity; // request id and trace
mod json; // how deep a body is, and whether it is JSON at all
mod negotiation; // Accept, Content-Type
mod precondition; // If-Match, If-None-Match
mod prefer; // RFC 7240
mod problem; // RFC 9457, and the table of codes
mod query; // a request becomes a query
mod query_answer; // what became of it becomes a response
mod route; // which path is what
mod served; // on a socket of its own
mod telemetry;
mod tracestate; // the W3C header of that name

pub use self::{config::Config, gateway::ApiGateway, served::Served, telemetry::Metrics};
