//! The service across processes: [`RemoteQueryService`] calls, [`QueryEndpoint`] answers.
//!
//! A call is the query as JSON; an answer's rows stand beside its head, byte for byte as they were stored.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use wire::{Answers, By, Call, CallError, Caller, Frame, Sending, Unanswered};

use crate::{Answer, Body, ListQuery, PointQuery, QueryOutcome, QueryService};

const POINT: &str = "/query-service/point";
const LIST: &str = "/query-service/list";

/// What a query may take beside the wait that it asks for. One that is asked again has as much once more.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(7);
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
        let patience = wait + ANSWER_TIME_MAX;
        let patience_in_all = patience + ANSWER_TIME_MAX;
        // Asking again changes nothing.
        let sending = Sending::Repeatable;
        match self.caller.call(Call { by: By::Turn, sending, path, frame, patience, patience_in_all }).await {
            Ok(answer) => decode(answer),
            Err(error @ CallError::Refused(_)) => {
                tracing::error!(error = %error, "the Query Service does not understand a query: is it of another version?");
                QueryOutcome::Internal
            }
            Err(error) => {
                tracing::warn!(error = %error, "no Query Service answers");
                QueryOutcome::Unavailable { retry_after: RETRY_AFTER }
            }
        }
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
    fn answer(&self, path: &str, frame: Bytes) -> BoxFuture<'static, Result<Bytes, Unanswered>> {
        let service = self.service.clone();
        match path {
            POINT => Box::pin(async move { encode(service.point(query(frame)?).await).map_err(Unanswered::Lost) }),
            LIST => Box::pin(async move { encode(service.list(query(frame)?).await).map_err(Unanswered::Lost) }),
            _ => {
                let found = format!("{path} is no call of the Query Service");
                Box::pin(async move { Err(Unanswered::Refused(wire::Error::Frame { found })) })
            }
        }
    }

    fn is_ready(&self) -> bool {
        (self.is_ready)()
    }
}

fn query<Q: DeserializeOwned>(frame: Bytes) -> Result<Q, Unanswered> {
    Frame::decode(frame).map(|frame| frame.head).map_err(Unanswered::Refused)
}
