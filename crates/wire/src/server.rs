use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::{Runtime, Shutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

use crate::{
    Error, ServerTls, Stream,
    caller::{ENDING, FRAME_TYPE},
};

/// What answers calls.
pub trait Answers: Send + Sync + 'static {
    /// Answers the call at `path`.
    fn answer(&self, path: &str, frame: Bytes) -> BoxFuture<'static, Result<Bytes, Unanswered>>;

    /// Whether calls are taken. One that ends says so here first, and goes on answering until callers have noticed.
    fn is_ready(&self) -> bool;
}

/// Why a call is not answered. The text goes to the caller.
#[derive(Debug)]
pub enum Unanswered {
    /// Nothing was done, and another instance may do it: this one is ending, or has not begun.
    NotNow,
    /// Nothing was done: it is no call that is known here.
    Refused(Error),
    /// Something may have been done.
    Lost(Error),
}

/// Bounds of what is taken.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most bytes of a call.
    pub call_bytes_max: usize,
    /// How long a call may take to arrive.
    pub arrival_time_max: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { connections_max: 4096, call_bytes_max: 8 * 1024 * 1024, arrival_time_max: Duration::from_secs(10) }
    }
}

/// A socket that calls come to.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<ServerTls>,
}

impl Endpoint {
    /// Listens on `address`, for plain text; port 0 takes a free one. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::NotLoopback`], [`Error::Bind`].
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback { address });
        }
        Self::listen(address, None)
    }

    /// As [`Endpoint::bind`], on any address: calls come under TLS, and from nobody who cannot prove that he may call.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub fn bind_under_tls(address: SocketAddr, tls: ServerTls) -> Result<Self, Error> {
        Self::listen(address, Some(tls))
    }

    fn listen(address: SocketAddr, tls: Option<ServerTls>) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What answers requests of HTTP, for a box whose contract that is.
pub trait Responds: Send + Sync + 'static {
    /// An answer's body.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers one request.
    fn respond(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Self::Body>>;

    /// As [`Answers::is_ready`].
    fn is_ready(&self) -> bool;

    /// Says whether requests are taken, to whoever asks at the path for that.
    fn say_ready(is_ready: bool) -> Response<Self::Body>;
}

/// Answers calls until `shutdown`, then finishes those under way.
pub async fn serve(
    endpoint: Endpoint,
    answers: Arc<dyn Answers>,
    limits: ServerLimits,
    runtime: Runtime,
    shutdown: Shutdown,
) {
    let connections_max = limits.connections_max;
    let calls = Arc::new(Calls { answers, limits, runtime: runtime.clone() });
    serve_http(endpoint, calls, connections_max, runtime, shutdown).await;
}

/// Answers requests until `shutdown`, then finishes those under way.
pub async fn serve_http<R: Responds>(
    endpoint: Endpoint,
    responds: Arc<R>,
    connections_max: usize,
    runtime: Runtime,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            accepted = endpoint.listener.accept() => accepted,
        };
        let (Ok((socket, peer)), Ok(place)) = (accepted, places.clone().try_acquire_owned()) else {
            // Out of descriptors, or too many at once: neither gets better by asking again at once.
            runtime.sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Latency, not throughput: a failure to set it costs that and nothing else.
        let _ = socket.set_nodelay(true);
        let (responds, shutdown) = (responds.clone(), shutdown.clone());
        let entering = enter(endpoint.tls.clone(), socket, peer, runtime.clone(), shutdown.clone());
        connections.spawn(async move {
            let _place = place;
            if let Some(stream) = entering.await {
                connection(responds, stream, shutdown).await;
            }
        });
    }
    drop(endpoint);
    connections.close();
    connections.wait().await;
}

/// A handshake, where there is one; `None` for a peer that is not let in, or comes too late.
async fn enter(
    tls: Option<ServerTls>,
    socket: TcpStream,
    peer: SocketAddr,
    runtime: Runtime,
    shutdown: Shutdown,
) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Stream::Plain(socket)) };
    tokio::select! {
        entered = tls.let_in(socket, peer, &runtime) => entered,
        () = shutdown.requested() => None,
    }
}

async fn connection<R: Responds>(responds: Arc<R>, stream: Stream, shutdown: Shutdown) {
    let service = service_fn(|request: Request<Incoming>| {
        let responds = responds.clone();
        async move {
            let is_ready = responds.is_ready();
            let mut response = match request.uri().path() {
                READY => R::say_ready(is_ready),
                _ => responds.respond(request).await,
            };
            if !is_ready {
                response.headers_mut().insert(ENDING, HeaderValue::from_static("1"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_headers(HEADERS_MAX);
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    // How a caller ends its connection is its own affair.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = shutdown.requested() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

/// Calls as requests of HTTP.
#[derive(Clone)]
struct Calls {
    answers: Arc<dyn Answers>,
    limits: ServerLimits,
    runtime: Runtime,
}

impl Responds for Calls {
    type Body = Full<Bytes>;

    fn respond(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>> {
        if request.method() != Method::POST {
            return Box::pin(async { text(StatusCode::METHOD_NOT_ALLOWED, "calls are POST\n") });
        }
        Box::pin(self.clone().call(request))
    }

    fn is_ready(&self) -> bool {
        self.answers.is_ready()
    }

    fn say_ready(is_ready: bool) -> Response<Full<Bytes>> {
        if is_ready { text(StatusCode::OK, "ready\n") } else { text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
    }
}

impl Calls {
    async fn call(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let arriving = Limited::new(body, self.limits.call_bytes_max).collect();
        let frame = match self.runtime.timeout(self.limits.arrival_time_max, arriving).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return text(StatusCode::BAD_REQUEST, format!("the call did not arrive: {error}\n")),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the call did not arrive in time\n"),
        };
        match self.answers.answer(head.uri.path(), frame).await {
            Ok(frame) => {
                let mut response = Response::new(Full::new(frame));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FRAME_TYPE));
                response
            }
            Err(Unanswered::NotNow) => text(StatusCode::SERVICE_UNAVAILABLE, "calls are not taken now\n"),
            Err(Unanswered::Refused(error)) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
            Err(Unanswered::Lost(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// Where an instance says whether it is ready.
pub(crate) const READY: &str = "/.diptych/ready";
const HEADERS_MAX: usize = 128;
/// Between a kept connection's calls, the caller gives up before.
const HEAD_TIME_MAX: Duration = Duration::from_secs(90);

fn text(status: StatusCode, said: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(said.into()));
    *response.status_mut() = status;
    response
}
