#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an adapter at the edge: hyper's pooled client has tokio's sockets and timers"
)]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    Request, Response, StatusCode, Uri, Version,
    header::CONTENT_TYPE,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use runtime::Runtime;
use serde::Deserialize;
use wire::{Attempt, Candidate, Part, Verdict, is_unsent};

use super::{Inner, repeat::Kind};

/// How a request at an instance ended.
pub(super) type Ended = Result<Answer, NoAnswer>;

/// An answer, and what it says about the instance.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) verdict: Verdict,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Not a byte of the request was sent.
    NotSent,
    /// The connection ended before the answer came.
    Lost,
    /// It did not come in time.
    Late,
    /// The user's body ended before its end. That is nothing to do with the instance.
    BodyBroke,
}

impl Inner {
    /// Sends a request to one instance, and judges that by what comes of it.
    pub(super) async fn send_at(&self, mut attempt: Attempt, kind: Kind, request: Request<Body>) -> Ended {
        let address = attempt.instance().address();
        let patience = self.patience(kind, &request);
        let (request, sent) = addressed(request, address);
        let ended = match self.runtime.timeout(patience, self.exchange(&attempt, request)).await {
            Ok(ended) => ended,
            Err(elapsed) => {
                tracing::warn!(instance = %address, error = %elapsed, "an API Gateway did not answer in time");
                Err(NoAnswer::Late)
            }
        };
        let ended = ended.map_err(|why| if sent.is_broken() { NoAnswer::BodyBroke } else { why });
        let verdict = match &ended {
            Ok((_, verdict)) => *verdict,
            Err(NoAnswer::BodyBroke) => Verdict::Nothing,
            Err(NoAnswer::NotSent) => Verdict::Failed,
            // Who sends slowly, or sends on after an early answer, could blame any instance.
            Err(NoAnswer::Lost | NoAnswer::Late) if !sent.is_whole() => Verdict::Nothing,
            Err(NoAnswer::Lost | NoAnswer::Late) => Verdict::Failed,
        };
        // An answer is good once it is whole. A probe has shown enough when it begins: it may go on for hours.
        let is_open = verdict == Verdict::Well && attempt.part() == Part::Ordinary;
        if !is_open {
            attempt.judge(verdict, self.runtime.now());
        }
        let (response, verdict) = ended?;
        let (runtime, stall_time_max) = (self.runtime.clone(), self.limits.stall_time_max);
        let coming = |body| Coming { body, attempt, is_open, is_over: false, runtime, stall_time_max, stall: None };
        Ok(Answer { response: response.map(|body| Body::new(coming(body))), verdict })
    }

    fn patience(&self, kind: Kind, request: &Request<Body>) -> Duration {
        let limits = &self.limits;
        match kind {
            Kind::Query if request.headers().contains_key("prefer") => limits.query_time_max + limits.prefer_time_max,
            Kind::Query => limits.query_time_max,
            Kind::Keyed | Kind::Other => limits.command_time_max,
        }
    }

    async fn exchange(&self, attempt: &Attempt, request: Request<Body>) -> Result<(Response<Body>, Verdict), NoAnswer> {
        let (address, standing) = (attempt.instance().address(), attempt.instance().standing());
        let mut response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(instance = %address, error = %chain(&error), "an API Gateway did not answer");
                if !is_unsent(&error) {
                    return Err(NoAnswer::Lost);
                }
                // It is asked again before long.
                standing.set_ready(false);
                return Err(NoAnswer::NotSent);
            }
        };
        let is_ending = response.headers_mut().remove(wire::ENDING).is_some();
        // It takes requests until it is gone: that is better than nothing while no other one is known to be back.
        if is_ending && self.is_another_healthy(attempt.instance()) && standing.set_ready(false) {
            tracing::info!(instance = %address, "an API Gateway is ending: it gets no further requests");
        }
        match response.status() {
            status if status.is_server_error() => with_code(response).await,
            // Nobody asked for another protocol.
            StatusCode::SWITCHING_PROTOCOLS => Err(NoAnswer::Lost),
            StatusCode::TOO_MANY_REQUESTS => Ok((response.map(Body::new), Verdict::Nothing)),
            _ => Ok((response.map(Body::new), Verdict::Well)),
        }
    }
}

/// The bytes of a problem that are read. A longer one is none of ours.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "code")]
    _code: String,
}

/// Whether an error is a problem with a code: then it comes from a gateway that works, and tells what is wrong behind it.
async fn with_code(response: Response<Incoming>) -> Result<(Response<Body>, Verdict), NoAnswer> {
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|it| it == "application/problem+json");
    if !is_problem {
        return Ok((response.map(Body::new), Verdict::Failed));
    }
    let (head, body) = response.into_parts();
    let body = Limited::new(body, PROBLEM_BYTES_MAX).collect().await.map_err(|_| NoAnswer::Lost)?.to_bytes();
    let is_coded = serde_json::from_slice::<Problem>(&body).is_ok();
    let verdict = if is_coded { Verdict::Nothing } else { Verdict::Failed };
    Ok((Response::from_parts(head, Body::from(body)), verdict))
}

/// The same request target at an address, and how far its body has been sent.
fn addressed(request: Request<Body>, address: SocketAddr) -> (Request<Body>, Sent) {
    let sent = Sent::default();
    let mut request = request.map(|body| match body.is_end_stream() {
        true => {
            sent.note(Sent::WHOLE);
            body
        }
        false => Body::new(Going { body, sent: sent.clone() }),
    });
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Authority::try_from(address.to_string()).ok();
    *request.uri_mut() = Uri::from_parts(parts).expect("a target has a path, and an address is an authority");
    *request.version_mut() = Version::HTTP_11;
    (request, sent)
}

/// How far a user's body has been sent.
#[derive(Clone, Default)]
struct Sent(Arc<AtomicU8>);

impl Sent {
    const WHOLE: u8 = 1;
    const BROKEN: u8 = 2;

    fn note(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }

    fn is_whole(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::WHOLE
    }

    fn is_broken(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::BROKEN
    }
}

/// A user's body on its way to a gateway. It notes an end, and an error that is the user's.
struct Going {
    body: Body,
    sent: Sent,
}

impl HttpBody for Going {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Err(_))) => self.sent.note(Sent::BROKEN),
            Poll::Ready(None) => self.sent.note(Sent::WHOLE),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.sent.note(Sent::WHOLE),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body on its way from a gateway. The request is in flight there until this is dropped.
struct Coming {
    body: Body,
    attempt: Attempt,
    /// The attempt is judged by how this ends.
    is_open: bool,
    /// Nothing more comes.
    is_over: bool,
    runtime: Runtime,
    stall_time_max: Duration,
    /// Runs while nothing comes. Most answers come whole, and never start it.
    stall: Option<BoxFuture<'static, ()>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the API Gateway's answer stopped in the middle")]
struct Stalled;

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Pending => {
                let stall = this.stall.get_or_insert_with(|| this.runtime.sleep(this.stall_time_max));
                std::task::ready!(stall.as_mut().poll(context));
                Some(Err(axum::Error::new(Stalled)))
            }
            Poll::Ready(frame) => frame,
        };
        this.stall = None;
        this.is_over = polled.is_none();
        if let Some(Err(error)) = &polled {
            this.is_open = false;
            tracing::warn!(instance = %this.attempt.instance().address(), error = %chain(error), "an answer was cut off");
            this.attempt.judge(Verdict::Failed, this.runtime.now());
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if self.is_open && (self.is_over || self.body.is_end_stream()) {
            self.attempt.judge(Verdict::Well, self.runtime.now());
        }
    }
}

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
