//! API Gateways in other processes: one attempt after another, within the rules and the budget.

mod attempt; // one request at one instance, and what its end says
mod repeat; // what may be sent again, and after what

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper_util::client::legacy::Client;
use runtime::Runtime;
use wire::{Attempt, Budget, CallerLimits, Candidate, Connector, Instance, Instances, http_client};

use self::{
    attempt::{Ended, NoAnswer},
    repeat::{Copy, Kind},
};
use crate::{Metrics, picker::pick, refusal::Refusal, telemetry::Policy};

/// Bounds of what is sent to gateways in other processes. Times run from the sending of a request to its answer's head.
#[derive(Clone, Debug)]
pub struct RemoteLimits {
    /// How long the answer to a query is waited for.
    pub query_time_max: Duration,
    /// How much longer if the request bears `Prefer`, by which it can ask the gateway to wait.
    pub prefer_time_max: Duration,
    /// How long the answer to any other request is waited for. Gateways wait for less, and say then that they do not know.
    pub command_time_max: Duration,
    /// How long nothing may come of an answer that has begun.
    pub stall_time_max: Duration,
    /// Bytes of a body that are kept to be sent again. A request with a longer one, or one of unknown length, is not repeated.
    pub kept_bytes_max: u64,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        Self {
            query_time_max: Duration::from_secs(20),
            prefer_time_max: Duration::from_secs(30),
            command_time_max: Duration::from_secs(35),
            stall_time_max: Duration::from_secs(60),
            kept_bytes_max: 64 * 1024,
        }
    }
}

/// Gateways in other processes.
#[derive(Clone)]
pub(crate) struct Remote {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client<Connector, Body>,
    known: Instances,
    runtime: Runtime,
    metrics: Metrics,
    budget: Budget,
    limits: RemoteLimits,
}

impl Remote {
    pub(crate) fn new(known: Instances, runtime: Runtime, metrics: Metrics, limits: RemoteLimits) -> Self {
        let (client, budget) = (http_client(&known, &CallerLimits::default()), Budget::new(runtime.now()));
        Self { inner: Arc::new(Inner { client, known, runtime, metrics, budget, limits }) }
    }

    pub(crate) fn known(&self) -> Arc<[Arc<Instance>]> {
        self.inner.known.known()
    }

    /// Sends a request to a gateway, and once more to another one where the rules allow it.
    pub(crate) async fn send(self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let inner = &self.inner;
        inner.budget.earn();
        let kind = Kind::of(&request);
        let (request, copy) = repeat::keep(request, inner.limits.kept_bytes_max).await?;
        let first = inner.pick(kind, None).ok_or(Refusal::NoInstance)?;
        let tried = first.instance().clone();
        let ended = inner.send_at(first, kind, request).await;
        let Some(copy) = copy.filter(|_| repeat::is_allowed(kind, &ended)) else { return settled(kind, ended) };
        let Some(again) = inner.again(kind, &tried, copy).await else { return settled(kind, ended) };
        settled(kind, repeat::better(kind, ended, again))
    }
}

impl Inner {
    fn pick(&self, kind: Kind, except: Option<&Instance>) -> Option<Attempt> {
        let known = self.known.known();
        let (instance, part) = pick(&known, kind.sending(), except.map(Candidate::standing), &self.runtime)?;
        Some(self.known.begin(instance, part))
    }

    fn is_another_healthy(&self, than: &Instance) -> bool {
        let known = self.known.known();
        known.iter().any(|other| !std::ptr::eq(&**other, than) && other.standing().is_healthy())
    }

    /// Sends a request once more; `None` where there is no other instance, or the budget is spent.
    async fn again(&self, kind: Kind, tried: &Instance, copy: Copy) -> Option<Ended> {
        let attempt = self.pick(kind, Some(tried))?;
        if !self.budget.spend(self.runtime.now()) {
            self.metrics.limited(Policy::Retries);
            return None;
        }
        self.metrics.retried();
        Some(self.send_at(attempt, kind, copy.into_request()).await)
    }
}

/// What the user hears.
fn settled(kind: Kind, ended: Ended) -> Result<Response<Body>, Refusal> {
    let is_query = kind == Kind::Query;
    match ended {
        Ok(answer) => Ok(answer.response),
        Err(NoAnswer::NotSent) => Err(Refusal::NoInstance),
        Err(NoAnswer::BodyBroke) => Err(Refusal::Malformed("the body broke off, or its chunks are none")),
        Err(NoAnswer::Late) => Err(if is_query { Refusal::QueryTimedOut } else { Refusal::CommandTimedOut }),
        Err(NoAnswer::Lost) => Err(if is_query { Refusal::QueryLost } else { Refusal::CommandLost }),
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remote").field("known", &self.inner.known).finish_non_exhaustive()
    }
}
