//! The gateway from outside: requests in, responses out, before services that answer what a test tells them to.

mod commands;
mod edge;
mod fixture;
mod odd_requests;
mod queries;
mod tracing_hops;
