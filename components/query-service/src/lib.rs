//! Query Service: reads rows and honours consistency tokens.
//!
//! The API Gateway sends a [`PointQuery`] or a [`ListQuery`] to a [`QueryService`] and gets a [`QueryOutcome`].

mod contract;

pub use self::contract::{
    Answer, Body, Consistency, Freshness, Handling, ListQuery, PointQuery, QueryOutcome, QueryService,
};
