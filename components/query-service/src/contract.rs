use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{ConsistencyToken, Position, Tenant, TraceContext};
use query_database::Generation;
use serde::{Deserialize, Serialize};

/// How fresh an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// The prefix of the log that the answer must contain.
    pub token: Option<ConsistencyToken>,
    /// What to do when it does not in time.
    pub handling: Handling,
    /// How long to wait for it; clipped to the service's limit.
    pub wait: Duration,
}

/// What to do when a read model has not reached a token in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handling {
    /// Refuse.
    Strict,
    /// Answer all the same, and say how stale it is.
    Lenient,
}

/// A query for one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointQuery {
    /// Whose rows.
    pub tenant: Tenant,
    /// The read model's name.
    pub read_model: String,
    /// The row's key as it stood in the path: percent-encoded parts, joined by `/`.
    pub key: String,
    /// How fresh.
    pub consistency: Consistency,
    /// The trace it arrived in.
    pub trace: TraceContext,
    /// What came beside `trace` in W3C `tracestate`: a valid list, or nothing.
    pub tracestate: Option<Arc<str>>,
}

/// A query for a page of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuery {
    /// Whose rows.
    pub tenant: Tenant,
    /// The read model's name.
    pub read_model: String,
    /// Every query parameter but `consistency_token`, decoded, in the order sent: filters, `order_by`, `page_size`, `page_token`.
    pub parameters: Vec<(String, String)>,
    /// How fresh.
    pub consistency: Consistency,
    /// The trace it arrived in.
    pub trace: TraceContext,
    /// What came beside `trace` in W3C `tracestate`: a valid list, or nothing.
    pub tracestate: Option<Arc<str>>,
}

/// What an answer says about its age.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Freshness {
    /// Nothing to report.
    Fresh,
    /// The read model is known to lag, or waits.
    Stale {
        /// How many events it is behind the token, or the head where no token was sent.
        behind: u64,
        /// How long it has been, as far as is known.
        age: Duration,
    },
}

/// An answer from one snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was found.
    pub body: Body,
    /// The generation it comes from.
    pub generation: Generation,
    /// Names the prefix of the log that it contains; `None` while that is empty, and where the rows are of another history.
    pub token: Option<ConsistencyToken>,
    /// What it says about its age.
    pub freshness: Freshness,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The row.
    Row {
        /// JSON text, as it was stored.
        body: Bytes,
        /// The last event that touched it.
        position: Position,
    },
    /// There is no such row.
    NoRow,
    /// A page of rows.
    Page {
        /// JSON texts, as they were stored.
        rows: Vec<Bytes>,
        /// Where the next page starts; `None` on the last one.
        next_page_token: Option<String>,
        /// The checkpoint: a page is the same as long as nothing at all was folded.
        position: Option<Position>,
    },
}

/// What became of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum QueryOutcome {
    /// Answered.
    Answered(Answer),
    /// No read model of that name.
    UnknownReadModel {
        /// Those that there are.
        known: Vec<String>,
    },
    /// The key cannot be one.
    InvalidKey {
        /// What is wrong with it.
        detail: String,
    },
    /// A parameter that lists of this read model do not have.
    UnknownParameter {
        /// Its name.
        name: String,
        /// What is possible, for people: fields with their kinds, operators, and what else may be sent.
        possible: String,
    },
    /// A parameter whose value cannot be understood.
    InvalidFilter {
        /// Its name.
        name: String,
        /// What was expected, for people.
        detail: String,
    },
    /// A page token that is not one of ours, or belongs to another query or generation.
    InvalidPageToken {
        /// What to do, for people.
        detail: String,
    },
    /// The read model has not reached the token.
    NotYetConsistent {
        /// How many events are missing.
        behind: u64,
        /// For how long the answer has been behind, as far as is known.
        age: Duration,
    },
    /// The token lies beyond a fork of the log: drop it.
    EpochChanged,
    /// The Query Database does not answer, or the read model serves nothing yet.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// A stored row is damaged, or the service itself failed.
    Internal,
}

/// Answers queries.
pub trait QueryService: Send + Sync + 'static {
    /// One row by its key.
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome>;

    /// A page of rows.
    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome>;
}
