use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use runtime::{Runtime, Shutdown};

use crate::{Instances, health, server::READY};

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
    /// The instance has not seen it, or has refused it unread: another one may be tried.
    #[error("the call was not sent: {0}")]
    NotSent(String),
    /// It was sent, and nobody knows what became of it.
    #[error("the call was sent and its answer was lost: {0}")]
    Lost(String),
}

/// Makes calls to the instances of one role. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Runtime,
    instances: Instances,
    limits: CallerLimits,
}

impl Caller {
    /// Starts to look after `instances`, until `shutdown`.
    #[must_use]
    pub fn start(runtime: &Runtime, instances: Instances, limits: CallerLimits, shutdown: Shutdown) -> Self {
        let client = http_client(&limits);
        let caller = Self { client, runtime: runtime.clone(), instances, limits };
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

    /// Makes one call to one instance, and waits for `patience` at the most. Never tries again.
    ///
    /// # Errors
    /// [`CallError`] says what is known.
    pub async fn call(
        &self,
        instance: SocketAddr,
        path: &str,
        frame: Bytes,
        patience: Duration,
    ) -> Result<Bytes, CallError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{instance}{path}"))
            .header(CONTENT_TYPE, FRAME_TYPE)
            .body(Full::new(frame))
            .map_err(|error| CallError::NotSent(error.to_string()))?;
        match self.runtime.timeout(patience, self.exchange(instance, request)).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(CallError::Lost(format!("no answer of {instance} within {:?}", elapsed.0))),
        }
    }

    async fn exchange(&self, instance: SocketAddr, request: Request<Full<Bytes>>) -> Result<Bytes, CallError> {
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                let said = format!("{instance}: {}", chain(&error));
                // A connection that could not be made has carried nothing. Whatever else failed may have.
                if error.is_connect() {
                    self.instances.set_ready(instance, false);
                    return Err(CallError::NotSent(said));
                }
                return Err(CallError::Lost(said));
            }
        };
        if response.headers().contains_key(ENDING) && self.instances.set_ready(instance, false) {
            tracing::info!(instance = %instance, "an instance is ending: it gets no further calls");
        }
        let status = response.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(CallError::NotSent(format!("{instance} takes no calls")));
        }
        let body = self.body(instance, response.into_body()).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(CallError::Lost(format!("{instance} answered {status}: {}", String::from_utf8_lossy(&body))))
    }

    async fn body(&self, instance: SocketAddr, body: Incoming) -> Result<Bytes, CallError> {
        let collected = Limited::new(body, self.limits.answer_bytes_max).collect().await;
        let collected = collected.map_err(|error| CallError::Lost(format!("the answer of {instance}: {error}")))?;
        Ok(collected.to_bytes())
    }

    /// Asks an instance whether it takes calls.
    pub(crate) async fn is_ready(&self, instance: SocketAddr) -> bool {
        let request = Request::get(format!("http://{instance}{READY}")).body(Full::new(Bytes::new()));
        let Ok(request) = request else { return false };
        let asked = self.runtime.timeout(self.limits.connect_time_max, self.client.request(request)).await;
        matches!(asked, Ok(Ok(response)) if response.status() == StatusCode::OK)
    }
}

/// A client of HTTP/1.1 that keeps its connections within `limits`.
#[must_use]
pub fn http_client<B>(limits: &CallerLimits) -> Client<HttpConnector, B>
where
    B: Body<Data: Send> + Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(limits.connect_time_max));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME_MAX)
        .pool_max_idle_per_host(limits.idle_connections_max)
        .build(connector)
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
