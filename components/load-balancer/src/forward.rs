use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header::VIA};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use runtime::Runtime;
use tower::Service;
use tracing::Span;

use crate::{
    Gateways, Metrics, Networks, Peer,
    gateways::{Where, enter_one_of},
    headers::{clean_request, clean_response, has_passed, settle_target},
    hops,
    instance::{Answering, InFlight},
    origin::{Origin, X_REQUEST_ID},
    refusal::Refusal,
    telemetry::{MethodLabel, Policy},
};

/// How the load balancer forwards.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name under which it signs `Via`. A request that bears it already is refused as a loop, so load balancers in a
    /// row need different names.
    pub pseudonym: String,
    /// Addresses of proxies whose `Forwarded` and `X-Forwarded-*` headers are believed. Others' are dropped.
    pub trusted_peers: Networks,
}

impl Default for Config {
    fn default() -> Self {
        Self { pseudonym: "diptych".to_owned(), trusted_peers: Networks::default() }
    }
}

/// Spreads requests over the API Gateway instances. Cheap to clone.
///
/// It forwards the meaning of a message, not its bytes: headers about one connection stay on it, `Via`, `Forwarded` and
/// `X-Request-Id` are added, the body passes through. It answers by itself, as problem+json, only when it refuses.
#[derive(Clone)]
pub struct LoadBalancer {
    inner: Arc<Inner>,
}

struct Inner {
    gateways: Gateways,
    runtime: Runtime,
    metrics: Metrics,
    via: HeaderValue,
    /// What a request of HTTP/1.0 is signed with.
    via_old: HeaderValue,
    config: Config,
}

impl LoadBalancer {
    /// A load balancer over `gateways`, which may become ready later.
    ///
    /// # Errors
    /// [`Error::Pseudonym`](crate::Error::Pseudonym) if the configured name cannot stand in a `Via` header.
    pub fn new(
        gateways: impl Into<Gateways>,
        runtime: Runtime,
        metrics: Metrics,
        config: Config,
    ) -> Result<Self, crate::Error> {
        let is_token = |name: &str| !name.is_empty() && http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        let signed = |version: &str| HeaderValue::try_from(format!("{version} {}", config.pseudonym)).ok();
        let (Some(via), Some(via_old), true) = (signed("1.1"), signed("1.0"), is_token(&config.pseudonym)) else {
            return Err(crate::Error::Pseudonym { pseudonym: config.pseudonym });
        };
        let gateways = gateways.into();
        metrics.show(&gateways);
        Ok(Self { inner: Arc::new(Inner { gateways, runtime, metrics, via, via_old, config }) })
    }

    /// Forwards one request that came from `peer`.
    pub fn forward(&self, mut request: Request<Body>, peer: &Peer) -> Forward {
        let inner = &self.inner;
        let mut forward = self.arrive(&request);
        if has_passed(request.headers(), &inner.config.pseudonym) {
            forward.way = Way::Refused(Refusal::Loop);
        } else if let Err(refusal) = settle_target(&mut request) {
            forward.way = Way::Refused(refusal);
        } else {
            let via = if request.version() == Version::HTTP_10 { &inner.via_old } else { &inner.via };
            let headers = request.headers_mut();
            clean_request(headers, peer.is_trusted);
            headers.append(VIA, via.clone());
            peer.append_to(headers);
            headers.insert(X_REQUEST_ID, forward.origin.header.clone());
            forward.send(request);
        }
        forward
    }

    /// Refuses a request without forwarding it.
    pub(crate) fn refuse<B>(&self, request: &Request<B>, refusal: Refusal) -> Forward {
        let mut forward = self.arrive(request);
        forward.way = Way::Refused(refusal);
        forward
    }

    /// A request on its way, refused unless an instance is found for it.
    fn arrive<B>(&self, request: &Request<B>) -> Forward {
        let inner = &self.inner;
        let origin = Origin::of(request.headers(), &inner.runtime);
        let passage = Passage {
            in_flight: None,
            inner: inner.clone(),
            started: inner.runtime.now(),
            method: MethodLabel::of(request.method()),
            status: None,
        };
        Forward {
            way: Way::Refused(Refusal::NoInstance),
            passage: Some(passage),
            arrival: hops::arrival(&origin),
            comes_back: hops::comes_back(request.method(), request.uri().path()),
            origin,
        }
    }

    pub(crate) fn peer(&self, address: std::net::IpAddr, is_under_tls: bool) -> Peer {
        Peer::new(address, self.inner.config.trusted_peers.contains(address), is_under_tls)
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    pub(crate) fn limited(&self, policy: Policy) {
        self.inner.metrics.limited(policy);
    }
}

impl std::fmt::Debug for LoadBalancer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LoadBalancer").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// For callers without a socket: the peer is unknown, and trusted in nothing.
impl Service<Request<Body>> for LoadBalancer {
    type Response = Response<Forwarded>;
    type Error = Infallible;
    type Future = Forward;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Forward {
        self.forward(request, &Peer::unknown())
    }
}

/// The answer to one request, to come. Dropping it gives the request up: its instance no longer counts it.
#[must_use = "nothing is answered unless polled"]
pub struct Forward {
    way: Way,
    /// `None` once the answer has been given out.
    passage: Option<Passage>,
    origin: Origin,
    // Held open, never entered: hop 1 lasts until the answer.
    arrival: Span,
    comes_back: bool,
}

enum Way {
    Through(Answering),
    Refused(Refusal),
}

impl Forward {
    /// Sets out to where there is an instance for it; where there is none, the refusal stays.
    fn send(&mut self, request: Request<Body>) {
        let Some(passage) = &mut self.passage else { return };
        match &passage.inner.gateways.0 {
            Where::Here(instances) => {
                if let Some(in_flight) = enter_one_of(instances, &passage.inner.runtime) {
                    self.way = Way::Through(in_flight.instance().call(request));
                    passage.in_flight = Some(in_flight);
                }
            }
            Where::Elsewhere(remote) => self.way = Way::Through(Box::pin(remote.clone().send(request))),
        }
    }

    /// A refusal in the place of what came, or did not come, of forwarding.
    pub(crate) fn overrule(&mut self, refusal: Refusal, polled: Poll<Response<Forwarded>>) -> Response<Forwarded> {
        if let Poll::Ready(answer) = polled {
            self.passage = answer.into_body().passage;
        }
        self.way = Way::Refused(refusal);
        self.give_out(refusal.response(&self.origin), Span::none())
    }

    /// Rebuilds the gateway's answer.
    fn answer(&mut self, mut response: Response<Body>) -> Response<Forwarded> {
        let rebuilding = hops::answer(self.comes_back, &self.origin);
        let headers = response.headers_mut();
        clean_response(headers);
        if let Some(passage) = &self.passage {
            headers.append(VIA, passage.inner.via.clone());
        }
        headers.insert(X_REQUEST_ID, self.origin.header.clone());
        drop(rebuilding);
        self.give_out(response, hops::handing_over(self.comes_back, &self.origin))
    }

    fn give_out(&mut self, response: Response<Body>, handing_over: Span) -> Response<Forwarded> {
        let mut passage = self.passage.take();
        if let Some(passage) = &mut passage {
            passage.status = Some(response.status());
        }
        response.map(|body| Forwarded { body, passage, _handing_over: handing_over })
    }
}

impl Future for Forward {
    type Output = Result<Response<Forwarded>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.way {
            Way::Through(answering) => ready!(answering.as_mut().poll(context)),
            Way::Refused(refusal) => Err(*refusal),
        };
        self.arrival = Span::none();
        let answer = match answer {
            Ok(response) => self.answer(response),
            Err(refusal) => {
                let response = refusal.response(&self.origin);
                self.give_out(response, Span::none())
            }
        };
        Poll::Ready(Ok(answer))
    }
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Forward").finish_non_exhaustive()
    }
}

/// One request from its head to the last byte of its answer. Its end, however it comes about, is the drop.
struct Passage {
    /// At an instance of this process. One elsewhere counts for itself.
    in_flight: Option<InFlight>,
    inner: Arc<Inner>,
    started: Duration,
    method: MethodLabel,
    /// `None` until there is an answer: a request given up before has no duration worth a place in the histogram.
    status: Option<StatusCode>,
}

impl Drop for Passage {
    fn drop(&mut self) {
        drop(self.in_flight.take());
        if let Some(status) = self.status {
            let took = self.inner.runtime.now().saturating_sub(self.started);
            self.inner.metrics.answered(self.method, status, took.as_secs_f64());
        }
    }
}

/// The body of an answer on its way to the user. The request is in flight until this is dropped.
pub struct Forwarded {
    body: Body,
    passage: Option<Passage>,
    _handing_over: Span,
}

impl HttpBody for Forwarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl From<Forwarded> for Body {
    fn from(forwarded: Forwarded) -> Self {
        Self::new(forwarded.map_err(axum::Error::into_inner))
    }
}

impl std::fmt::Debug for Forwarded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Forwarded").finish_non_exhaustive()
    }
}
