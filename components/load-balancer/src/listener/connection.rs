use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{CONNECTION, TRANSFER_ENCODING},
};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::Stream;

use super::{
    awake::{Awake, News},
    gate::{Gate, Remains},
    watch::{Exchange, Look, Watch},
};
use crate::{Forward, Forwarded, LoadBalancer, Peer, origin::Origin, refusal::Refusal, telemetry::Policy};

/// Serves one connection to its end.
pub(super) async fn serve_connection(
    http: http1::Builder,
    stream: Stream,
    address: IpAddr,
    load_balancer: LoadBalancer,
    watch: Arc<Watch>,
) {
    let peer = load_balancer.peer(address, matches!(stream, Stream::Tls(_)));
    let front = Front { load_balancer: load_balancer.clone(), peer, watch: watch.clone(), news: News::new() };
    let io = TokioIo::new(Gate::new(stream, watch.clone()));
    let mut connection = http.serve_connection(io, front);
    let mut is_told = false;
    let mut awake = Awake::new();
    let look = poll_fn(|context| {
        watch.belongs_to(context.waker());
        if watch.is_closing() && !is_told {
            is_told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match watch.look() {
            // What became of the connection does not matter further: it is over, and each request was accounted for.
            Look::GoOn => awake.poll(context, |context| Pin::new(&mut connection).poll(context).map(|_| Look::GoOn)),
            end => Poll::Ready(end),
        }
    })
    .await;
    match look {
        Look::Close => {}
        Look::Cut(policy) => load_balancer.limited(policy),
        Look::GoOn => {
            let mut remains = connection.into_parts().io.into_inner().into_remains();
            if watch.is(Exchange::Released) {
                // hyper gives up without a word on some heads that it cannot parse.
                remains.refusal.get_or_insert(Refusal::Malformed("the head is not one of HTTP/1.1"));
                remains.is_answer_at_risk = true;
            }
            if remains.is_answer_at_risk {
                // The peer may be gone, or not interested: both end the connection as well.
                let _ = load_balancer.runtime().timeout(LINGER, part_with(remains, &load_balancer)).await;
            }
        }
    }
}

/// How long an answer at risk is waited for, and how much is thrown away meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Says why, if there is something to say, and closes so that the peer can read it.
///
/// Closing a socket that holds unread bytes resets the connection, which can destroy an answer on its way. So what still
/// comes is read and thrown away for a moment.
async fn part_with(Remains { mut stream, refusal, .. }: Remains, load_balancer: &LoadBalancer) -> io::Result<()> {
    if let Some(refusal) = refusal {
        if matches!(refusal, Refusal::HeadTooLarge(_)) {
            load_balancer.limited(Policy::HeadSize);
        }
        stream.write_all(&refusal.bytes(&Origin::fresh(load_balancer.runtime()))).await?;
    }
    stream.shutdown().await?;
    let mut thrown_away = 0;
    let mut piece = [0; 4096];
    while thrown_away < LINGER_BYTES {
        match stream.read(&mut piece).await? {
            0 => break,
            bytes => thrown_away += bytes,
        }
    }
    Ok(())
}

/// The service of one connection: what belongs to the socket is done here, the rest by the load balancer.
struct Front {
    load_balancer: LoadBalancer,
    peer: Peer,
    watch: Arc<Watch>,
    /// Of the answer under way.
    news: News,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.watch.call();
        let limit = self.watch.limits().body_bytes_max;
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let is_safe = request.method().is_safe();
        let forward = if request.body().size_hint().lower() > limit {
            self.load_balancer.limited(Policy::BodySize);
            self.load_balancer.refuse(&request, Refusal::BodyTooLarge { limit })
        } else {
            let request = request.map(|incoming| match (incoming.is_end_stream(), is_chunked) {
                (true, _) => Body::empty(),
                (false, false) => Body::new(incoming),
                (false, true) => Body::new(Capped { incoming, left: limit, watch: self.watch.clone() }),
            });
            self.load_balancer.forward(request, &self.peer)
        };
        let (watch, news) = (self.watch.clone(), self.news.anew());
        Answering { forward, watch, news, load_balancer: self.load_balancer.clone(), is_safe, is_chunked }
    }
}

/// The answer to come, from an instance or, when a limit of this connection ends the wait, from here.
struct Answering {
    forward: Forward,
    watch: Arc<Watch>,
    news: News,
    load_balancer: LoadBalancer,
    is_safe: bool,
    is_chunked: bool,
}

impl Answering {
    /// The limit that overrules whatever an instance has to say, if one was reached.
    fn overruled(&self, is_answered: bool) -> Option<(Refusal, Policy)> {
        if self.watch.is_body_too_large() {
            let limit = self.watch.limits().body_bytes_max;
            return Some((Refusal::BodyTooLarge { limit }, Policy::BodySize));
        }
        let is_overdue = !is_answered && self.watch.is_request_overdue();
        let refusal = if self.is_safe { Refusal::QueryTimedOut } else { Refusal::CommandTimedOut };
        is_overdue.then_some((refusal, Policy::RequestTime))
    }
}

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let forward = &mut this.forward;
        let polled = this.news.poll(context, |context| Pin::new(forward).poll(context).map(|Ok(response)| response));
        let mut response = match (this.overruled(polled.is_ready()), polled) {
            (Some((refusal, policy)), polled) => {
                this.load_balancer.limited(policy);
                this.forward.overrule(refusal, polled)
            }
            (None, polled) => ready!(polled),
        };
        if this.is_chunked {
            // Where a chunked body ends only hyper knows, so the gate cannot let another head pass after it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        this.watch.enter(Exchange::Answering);
        Poll::Ready(Ok(response.map(|body| Answer { body, watch: this.watch.clone() })))
    }
}

/// An answer's body. Its end is the end of the exchange.
struct Answer {
    body: Forwarded,
    watch: Arc<Watch>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.watch.enter(Exchange::Answered);
    }
}

impl HttpBody for Answer {
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

/// A body of unknown length, up to a limit. Beyond it the reader gets an error, and the client a refusal.
struct Capped {
    incoming: Incoming,
    left: u64,
    watch: Arc<Watch>,
}

#[derive(Debug, thiserror::Error)]
#[error("the body is larger than the load balancer allows")]
struct BodyTooLarge;

impl HttpBody for Capped {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        Pin::new(&mut this.incoming).poll_frame(context).map(|frame| {
            frame.map(|frame| {
                let frame = frame?;
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.left = this.left.checked_sub(bytes).ok_or_else(|| {
                    this.watch.exceed_body();
                    BodyTooLarge
                })?;
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
