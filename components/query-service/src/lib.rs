//! Query Service: reads rows and honours consistency tokens.
//!
//! The API Gateway sends a [`PointQuery`] or a [`ListQuery`] to a [`QueryService`] and gets a [`QueryOutcome`]. [`Queries`]
//! is the one that answers them from a Query Database, and needs nothing else: what tells how fresh a row is lies beside it.
//! [`RemoteQueryService`] is the way to it from another process.

mod contract;
mod filter; // one parameter of a list becomes a condition
mod lag; // how long a read model has been behind
mod list; // all parameters of a list become a page of the database
mod network; // the service in other processes
mod page_token; // where a page ended, sealed
mod queries; // the service, and how it waits for a token
mod telemetry;

pub use self::{
    contract::{Answer, Body, Consistency, Freshness, Handling, ListQuery, PointQuery, QueryOutcome, QueryService},
    network::{QueryEndpoint, RemoteQueryService},
    queries::{Limits, Queries},
    telemetry::Metrics,
};
