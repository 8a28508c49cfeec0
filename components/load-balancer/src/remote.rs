//! API Gateways in other processes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an adapter at the edge: hyper's pooled client has tokio's sockets and timers"
)]

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, time::Duration};

use axum::body::Body;
use futures_util::future::{BoxFuture, select};
use http::{
    Method, Request, Response, Uri, Version,
    uri::{Authority, Scheme},
};
use hyper::body::Body as _;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use runtime::{Runtime, Shutdown};
use wire::{CallerLimits, Instances, http_client};

use crate::{Instance, Metrics, origin::Origin, refusal::Refusal};

/// How often what is known of the instances is carried over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The instances at these addresses, none of them ready yet. They become so, and cease to be, as `known` has it; that is
/// followed until `shutdown`. An address that is no longer known takes no further request.
#[must_use]
pub fn remote(known: &Instances, runtime: &Runtime, metrics: &Metrics, shutdown: Shutdown) -> Vec<Instance> {
    let client = http_client(&CallerLimits::default());
    let instance = |(address, _): (SocketAddr, bool)| {
        let gateway = Remote { address, client: client.clone(), known: known.clone(), runtime: runtime.clone() };
        let instance = Instance::new(address.to_string(), gateway, metrics);
        instance.set_ready(false);
        (address, instance)
    };
    let instances: BTreeMap<SocketAddr, Instance> = known.states().into_iter().map(instance).collect();
    let all = instances.values().cloned().collect();
    drop(runtime.spawn("readiness of gateways", follow(known.clone(), instances, runtime.clone(), shutdown)));
    all
}

async fn follow(known: Instances, instances: BTreeMap<SocketAddr, Instance>, runtime: Runtime, shutdown: Shutdown) {
    while !shutdown.is_requested() {
        let states: BTreeMap<SocketAddr, bool> = known.states().into_iter().collect();
        for (address, instance) in &instances {
            let is_ready = states.get(address).copied().unwrap_or(false);
            if instance.is_ready() != is_ready {
                instance.set_ready(is_ready);
            }
        }
        select(std::pin::pin!(shutdown.requested()), runtime.sleep(LOOK_EVERY)).await;
    }
}

/// One gateway, as a service.
#[derive(Clone)]
struct Remote {
    address: SocketAddr,
    client: Client<HttpConnector, Body>,
    known: Instances,
    runtime: Runtime,
}

impl tower::Service<Request<Body>> for Remote {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let remote = self.clone();
        Box::pin(async move { Ok(remote.send(request).await) })
    }
}

impl Remote {
    /// Sends a request, and one that only reads once more to another instance, if this one is gone.
    async fn send(self, request: Request<Body>) -> Response<Body> {
        let origin = Origin::of(request.headers(), &self.runtime);
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let again = if is_read && request.body().is_end_stream() { Some(copy(&request)) } else { None };
        let failed = match self.try_at(self.address, request).await {
            Ok(response) => return response,
            Err(failed) => failed,
        };
        if let Some(request) = again
            && let Some(other) = self.other()
            && let Ok(response) = self.try_at(other, request).await
        {
            return response;
        }
        let refusal = match (failed, is_read) {
            (Failed::NotSent, _) => Refusal::NoInstance,
            (Failed::Lost, true) => Refusal::QueryLost,
            (Failed::Lost, false) => Refusal::CommandLost,
        };
        refusal.response(&origin)
    }

    /// Another instance that takes requests.
    fn other(&self) -> Option<SocketAddr> {
        let is_other = |(address, is_ready): &(SocketAddr, bool)| *is_ready && *address != self.address;
        self.known.states().into_iter().find(is_other).map(|(address, _)| address)
    }

    async fn try_at(&self, address: SocketAddr, mut request: Request<Body>) -> Result<Response<Body>, Failed> {
        *request.uri_mut() = at(address, request.uri());
        *request.version_mut() = Version::HTTP_11;
        match self.client.request(request).await {
            Ok(response) => {
                let mut response = response.map(Body::new);
                if response.headers_mut().remove(wire::ENDING).is_some() {
                    self.known.set_ready(address, false);
                }
                Ok(response)
            }
            Err(error) => {
                tracing::warn!(instance = %address, error = %error, "an API Gateway did not answer");
                if !error.is_connect() {
                    return Err(Failed::Lost);
                }
                // A connection that could not be made has carried nothing.
                self.known.set_ready(address, false);
                Err(Failed::NotSent)
            }
        }
    }
}

/// What is known of a request without an answer.
enum Failed {
    NotSent,
    Lost,
}

/// The same request, without a body.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
}

/// The same request target at an address.
fn at(address: SocketAddr, uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Authority::try_from(address.to_string()).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
