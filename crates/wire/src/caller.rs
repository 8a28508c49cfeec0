use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, DATE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use runtime::{Runtime, Shutdown};

use crate::{
    Attempt, Budget, By, Candidate, Connector, Instance, Instances, Sending, Verdict, health, server::READY, skew, tls,
};

/// The header by which an instance that is ending says so with each answer.
pub const ENDING: &str = "diptych-ending";
/// What a frame's body is called.
pub(crate) const FRAME_TYPE: &str = "application/vnd.diptych.frame";

/// Bounds of calls.
#[derive(Clone, Copy, Debug)]
pub struct CallerLimits {
    /// How long making a connection may take.
    pub connect_time_max: Duration,
    /// Most bytes of an answer.
    pub answer_bytes_max: usize,
    /// Connections to one instance that are kept while they are idle.
    pub idle_connections_max: usize,
}

impl Default for CallerLimits {
    fn default() -> Self {
        Self { connect_time_max: Duration::from_secs(1), answer_bytes_max: 64 * 1024 * 1024, idle_connections_max: 256 }
    }
}

/// Why a call has no answer, and with it whether it may be made again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No instance has begun with it.
    #[error("the call was not sent: {0}")]
    NotSent(String),
    /// An instance does not understand it, and nothing was done. Those of its version will not either.
    #[error("the call was refused: {0}")]
    Refused(String),
    /// It was sent, and nobody knows what became of it.
    #[error("the call was sent and its answer was lost: {0}")]
    Lost(String),
}

/// One call, to whichever instance is chosen.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// How the instance is chosen.
    pub by: By<'a>,
    /// Whether it may be made again where its answer was lost.
    pub sending: Sending,
    /// What is called.
    pub path: &'a str,
    /// What is sent.
    pub frame: Bytes,
    /// How long the answer of one instance is waited for.
    pub patience: Duration,
    /// How long all takes at the most, where it is made again.
    pub patience_in_all: Duration,
}

/// Makes calls to the instances of one role. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client<Connector, Full<Bytes>>,
    runtime: Runtime,
    instances: Instances,
    budget: Arc<Budget>,
    limits: CallerLimits,
}

impl Caller {
    /// Starts to look after `instances`, until `shutdown`.
    #[must_use]
    pub fn start(runtime: &Runtime, instances: Instances, limits: CallerLimits, shutdown: Shutdown) -> Self {
        let client = http_client(&instances, &limits);
        let budget = Arc::new(Budget::new(runtime.now()));
        let caller = Self { client, runtime: runtime.clone(), instances, budget, limits };
        drop(runtime.spawn("health of instances", health::watch(caller.clone(), shutdown)));
        caller
    }

    /// The instances that are called.
    #[must_use]
    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Makes a call, and once more to another instance where that is allowed: where nothing was done, or where the call may
    /// be repeated. A tenth of the calls are made again at the most.
    ///
    /// # Errors
    /// [`CallError`] says what is known.
    pub async fn call(&self, call: Call<'_>) -> Result<Bytes, CallError> {
        self.budget.earn();
        let began = self.runtime.now();
        let Some(first) = self.instances.choose(call.by, call.sending, None, began) else {
            return Err(CallError::NotSent("no instance is known".to_owned()));
        };
        let tried = first.instance().clone();
        let failed = match self.try_at(first, &call, call.patience).await {
            Err(failed) if call.sending == Sending::Repeatable || !matches!(failed, CallError::Lost(_)) => failed,
            known => return known,
        };
        let now = self.runtime.now();
        let left = call.patience_in_all.saturating_sub(now.saturating_sub(began)).min(call.patience);
        let other = self.instances.choose(call.by, call.sending, Some(&tried), now);
        let Some(other) = other.filter(|_| !left.is_zero() && self.budget.spend(now)) else { return Err(failed) };
        tracing::debug!(instance = %other.instance().address(), error = %failed, "a call is made again elsewhere");
        self.try_at(other, &call, left).await
    }

    async fn try_at(&self, mut attempt: Attempt, call: &Call<'_>, patience: Duration) -> Result<Bytes, CallError> {
        let address = attempt.instance().address();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{address}{}", call.path))
            .header(CONTENT_TYPE, FRAME_TYPE)
            .body(Full::new(call.frame.clone()))
            .map_err(|error| CallError::Refused(error.to_string()))?;
        let (verdict, answer) = match self.runtime.timeout(patience, self.exchange(attempt.instance(), request)).await {
            Ok(answer) => answer,
            Err(elapsed) => {
                (Verdict::Failed, Err(CallError::Lost(format!("no answer of {address} within {:?}", elapsed.0))))
            }
        };
        attempt.judge(verdict, self.runtime.now());
        answer
    }

    /// The answer, and what it says about the instance.
    async fn exchange(
        &self,
        instance: &Instance,
        request: Request<Full<Bytes>>,
    ) -> (Verdict, Result<Bytes, CallError>) {
        let (address, standing) = (instance.address(), instance.standing());
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                let said = format!("{address}: {}", chain(&error));
                if is_unsent(&error) {
                    // It is asked again before long.
                    standing.set_ready(false);
                    return (Verdict::Failed, Err(CallError::NotSent(said)));
                }
                return (Verdict::Failed, Err(CallError::Lost(said)));
            }
        };
        if response.headers().contains_key(ENDING) && standing.set_ready(false) {
            tracing::info!(instance = %address, "an instance is ending: it gets no further calls");
        }
        let status = response.status();
        let body = match self.body(address, response.into_body()).await {
            Ok(body) => body,
            Err(error) => return (Verdict::Failed, Err(error)),
        };
        let said = || format!("{address} answered {status}: {}", String::from_utf8_lossy(&body).trim_end());
        match status {
            StatusCode::OK => (Verdict::Well, Ok(body)),
            StatusCode::SERVICE_UNAVAILABLE => (Verdict::Nothing, Err(CallError::NotSent(said()))),
            _ if status.is_client_error() => (Verdict::Nothing, Err(CallError::Refused(said()))),
            _ => (Verdict::Failed, Err(CallError::Lost(said()))),
        }
    }

    async fn body(&self, instance: SocketAddr, body: Incoming) -> Result<Bytes, CallError> {
        let collected = Limited::new(body, self.limits.answer_bytes_max).collect().await;
        let collected = collected.map_err(|error| CallError::Lost(format!("the answer of {instance}: {error}")))?;
        Ok(collected.to_bytes())
    }

    /// Asks an instance whether it takes calls; if not, the error says why.
    pub(crate) async fn is_ready(&self, instance: &Instance) -> Result<(), String> {
        let request = Request::get(format!("http://{}{READY}", instance.address())).body(Full::new(Bytes::new()));
        let request = request.map_err(|error| error.to_string())?;
        let asked = self.runtime.wall_clock();
        let response = match self.runtime.timeout(self.limits.connect_time_max, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(chain(&error)),
            Err(elapsed) => return Err(format!("no answer within {:?}", elapsed.0)),
        };
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        if let Some(skew) = date.and_then(|date| skew::least(date, asked, self.runtime.wall_clock())) {
            instance.skew().note(instance.address(), skew);
        }
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    }
}

/// Whether a request that failed has left nothing at the other end: no connection could be made, or the one that was to carry
/// it ended before its first byte, or was refused for who we are.
#[must_use]
pub fn is_unsent(error: &hyper_util::client::legacy::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<hyper::Error>());
    error.is_connect() || cause.is_some_and(hyper::Error::is_canceled) || tls::is_turned_away(error)
}

/// A client of HTTP/1.1 to `instances` that keeps its connections within `limits`.
#[must_use]
pub fn http_client<B>(instances: &Instances, limits: &CallerLimits) -> Client<Connector, B>
where
    B: Body<Data: Send> + Send,
{
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME_MAX)
        .pool_max_idle_per_host(limits.idle_connections_max)
        .build(Connector::new(instances.tls(), limits.connect_time_max))
}

/// Idle connections are given up after this, before the other end does.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said
}
