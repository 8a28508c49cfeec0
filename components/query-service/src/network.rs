//! The service across processes: [`RemoteQueryService`] calls, [`QueryEndpoint`] answers.
//!
//! A call is the query as JSON; an answer's rows stand beside its head, byte for byte as they were stored.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use wire::{Answers, Caller, Frame};

use crate::{Answer, Body, ListQuery, PointQuery, QueryOutcome, QueryService};

const POINT: &str = "/query-service/point";
const LIST: &str = "/query-service/list";

/// Instances that are tried for one query: asking again changes nothing.
const TRIES_MAX: usize = 2;
/// What a query may take beside the wait that it asks for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// What clients are told when nobody answers.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A Query Service in other processes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RemoteQueryService {
    caller: Caller,
}

impl RemoteQueryService {
    /// Over the instances that `caller` calls, in turn.
    #[must_use]
    pub fn new(caller: Caller) -> Self {
        Self { caller }
    }

    async fn ask<Q: Serialize>(&self, path: &str, query: Q, wait: Duration) -> QueryOutcome {
        let frame = match Frame::new(query).encode() {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(error = %error, "a query cannot be sent to the Query Service");
                return QueryOutcome::Internal;
            }
        };
        for instance in self.caller.instances().in_turn().into_iter().take(TRIES_MAX) {
            match self.caller.call(instance, path, frame.clone(), wait + ANSWER_TIME_MAX).await {
                Ok(answer) => return decode(answer),
                Err(error) => {
                    tracing::warn!(instance = %instance, error = %error, "a Query Service does not answer");
                }
            }
        }
        QueryOutcome::Unavailable { retry_after: RETRY_AFTER }
    }
}

impl QueryService for RemoteQueryService {
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome> {
        let wait = query.consistency.wait;
        Box::pin(self.ask(POINT, query, wait))
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome> {
        let wait = query.consistency.wait;
        Box::pin(self.ask(LIST, query, wait))
    }
}

/// Takes the rows out of an outcome, to stand beside it.
fn encode(mut outcome: QueryOutcome) -> Result<Bytes, wire::Error> {
    let parts = match &mut outcome {
        QueryOutcome::Answered(Answer { body: Body::Row { body, .. }, .. }) => vec![std::mem::take(body)],
        QueryOutcome::Answered(Answer { body: Body::Page { rows, .. }, .. }) => std::mem::take(rows),
        _ => Vec::new(),
    };
    Frame { head: outcome, parts }.encode()
}

fn decode(answer: Bytes) -> QueryOutcome {
    match Frame::decode(answer) {
        Ok(Frame { head: mut outcome, parts }) => {
            match &mut outcome {
                QueryOutcome::Answered(Answer { body: Body::Row { body, .. }, .. }) => {
                    *body = parts.into_iter().next().unwrap_or_default();
                }
                QueryOutcome::Answered(Answer { body: Body::Page { rows, .. }, .. }) => *rows = parts,
                _ => {}
            }
            outcome
        }
        Err(error) => {
            tracing::error!(error = %error, "the Query Service's answer cannot be read: is it of another version?");
            QueryOutcome::Internal
        }
    }
}

/// The other end: answers calls from a service of this process.
pub struct QueryEndpoint<R> {
    service: Arc<dyn QueryService>,
    is_ready: R,
}

impl<R> QueryEndpoint<R> {
    /// `is_ready` says whether calls are taken; a process that ends says no a while before it does.
    pub fn new(service: Arc<dyn QueryService>, is_ready: R) -> Self {
        Self { service, is_ready }
    }
}

impl<R> std::fmt::Debug for QueryEndpoint<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("QueryEndpoint").finish_non_exhaustive()
    }
}

impl<R: Fn() -> bool + Send + Sync + 'static> Answers for QueryEndpoint<R> {
    fn answer(&self, path: &str, frame: Bytes) -> BoxFuture<'static, Result<Bytes, wire::Error>> {
        let service = self.service.clone();
        match path {
            POINT => Box::pin(async move { encode(service.point(query(frame)?).await) }),
            LIST => Box::pin(async move { encode(service.list(query(frame)?).await) }),
            _ => {
                let found = format!("{path} is no call of the Query Service");
                Box::pin(async move { Err(wire::Error::Frame { found }) })
            }
        }
    }

    fn is_ready(&self) -> bool {
        (self.is_ready)()
    }
}

fn query<Q: DeserializeOwned>(frame: Bytes) -> Result<Q, wire::Error> {
    Frame::decode(frame).map(|frame| frame.head)
}
