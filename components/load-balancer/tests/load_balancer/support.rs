//! A load balancer in front of a gateway made of a closure, and a client that writes bytes.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use load_balancer::{
    Config, Drained, Gateways, Instance, Limits, Listener, LoadBalancer, Metrics, Protection, RemoteLimits, serve,
};
use runtime::{Runtime, Shutdown, Task};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::{Caller, CallerLimits, Endpoint, Instances, Responds, Stream, serve_http};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn gateway<A>(name: &str, answer: impl Fn(Request<Body>) -> A + Clone + Send + Sync + 'static) -> Instance
where
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let service = tower::service_fn(move |request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    Instance::new(name, service)
}

/// Answers with the request's target, headers and body, as text.
pub(crate) async fn echo(request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return Response::builder().status(400).body(error.to_string().into()).expect("a response"),
    };
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\n", value.to_str().expect("a header of text"));
    }
    text += &format!("\n{}", String::from_utf8_lossy(&body));
    Response::new(text.into())
}

/// A gateway on a socket of its own, as in another process.
pub(crate) struct Apart {
    pub(crate) address: SocketAddr,
    pub(crate) answered: Arc<AtomicUsize>,
    pub(crate) is_ending: Arc<AtomicBool>,
    pub(crate) shutdown: Shutdown,
    pub(crate) served: Task<()>,
}

struct Responder<A> {
    answer: A,
    answered: Arc<AtomicUsize>,
    is_ending: Arc<AtomicBool>,
}

impl<A, F> Responds for Responder<A>
where
    A: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    type Body = Body;

    fn respond(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        self.answered.fetch_add(1, SeqCst);
        Box::pin((self.answer)(request.map(Body::new)))
    }

    fn is_ready(&self) -> bool {
        !self.is_ending.load(SeqCst)
    }

    fn say_ready(is_ready: bool) -> Response<Body> {
        Response::builder().status(if is_ready { 200 } else { 503 }).body(Body::empty()).expect("a response")
    }
}

/// Serves a gateway on `address`; port 0 takes a free one.
pub(crate) fn apart_at<A, F>(address: SocketAddr, answer: A) -> Apart
where
    A: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (runtime, shutdown) = (Runtime::tokio(), Shutdown::new());
    let endpoint = Endpoint::bind(address).expect("a free port");
    let (answered, is_ending) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let responder = Arc::new(Responder { answer, answered: answered.clone(), is_ending: is_ending.clone() });
    let address = endpoint.address();
    let served = runtime.spawn("gateway", serve_http(endpoint, responder, 10_000, runtime.clone(), shutdown.clone()));
    Apart { address, answered, is_ending, shutdown, served }
}

pub(crate) fn apart<A, F>(answer: A) -> Apart
where
    A: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    apart_at(([127, 0, 0, 1], 0).into(), answer)
}

/// The gateways at these addresses, once all of them are ready.
pub(crate) async fn elsewhere(addresses: &[SocketAddr], metrics: &Metrics, limits: RemoteLimits) -> Gateways {
    let runtime = Runtime::tokio();
    let known = Instances::new(addresses.iter().map(SocketAddr::to_string).collect()).expect("addresses");
    let caller = Caller::start(&runtime, known.clone(), CallerLimits::default(), Shutdown::new());
    until("all gateways are ready", || known.ready() == addresses.len()).await;
    Gateways::elsewhere(caller.instances(), &runtime, metrics, limits)
}

pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn over(gateways: impl Into<Gateways>, metrics: &Metrics) -> LoadBalancer {
    over_with(gateways, metrics, Config::default())
}

pub(crate) fn over_with(gateways: impl Into<Gateways>, metrics: &Metrics, config: Config) -> LoadBalancer {
    LoadBalancer::new(gateways, Runtime::tokio(), metrics.clone(), config).expect("a good configuration")
}

/// Where the gateway is that a test has behind its load balancer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    Here,
    /// A hop further, as in another process.
    Elsewhere,
}

impl Layout {
    pub(crate) const ALL: [Self; 2] = [Self::Here, Self::Elsewhere];

    pub(crate) async fn gateways<A>(
        self,
        metrics: &Metrics,
        answer: impl Fn(Request<Body>) -> A + Clone + Send + Sync + 'static,
    ) -> Gateways
    where
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        println!("{self:?}");
        match self {
            Self::Here => Gateways::here(vec![gateway("one", answer)]),
            Self::Elsewhere => elsewhere(&[apart(answer).address], metrics, RemoteLimits::default()).await,
        }
    }

    pub(crate) async fn run<A>(
        self,
        limits: Limits,
        answer: impl Fn(Request<Body>) -> A + Clone + Send + Sync + 'static,
    ) -> Running
    where
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let metrics = Metrics::new();
        let gateways = self.gateways(&metrics, answer).await;
        run_over(limits, over(gateways, &metrics), metrics)
    }
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) drained: Task<Drained>,
    pub(crate) metrics: Metrics,
}

pub(crate) fn run_over(limits: Limits, load_balancer: LoadBalancer, metrics: Metrics) -> Running {
    run_protected(limits, Protection::default(), load_balancer, metrics)
}

pub(crate) fn run_protected(
    limits: Limits,
    protection: Protection,
    load_balancer: LoadBalancer,
    metrics: Metrics,
) -> Running {
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind_protected(address, limits, protection).expect("a free port");
    let (address, shutdown) = (listener.local_address(), Shutdown::new());
    let drained = Runtime::tokio().spawn("load balancer", serve(listener, load_balancer, shutdown.clone()));
    Running { address, shutdown, drained, metrics }
}

impl Running {
    pub(crate) async fn connect(&self) -> Client {
        Client::over(Stream::Plain(TcpStream::connect(self.address).await.expect("an open port")))
    }

    /// Sends bytes on a connection of their own and returns the first answer.
    pub(crate) async fn ask(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.answer().await.expect("an answer")
    }
}

pub(crate) struct Client {
    pub(crate) stream: Stream,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header of text"))
    }

    /// The problem in the body, after a look at all that every problem has.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("/errors/{code}"));
        assert_eq!(problem["instance"], format!("urn:uuid:{}", self.header("x-request-id")));
        assert_eq!(problem["trace_id"].as_str().map(str::len), Some(32));
        for text in ["title", "detail"] {
            assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{text} in {problem}");
        }
        assert!(problem["retryable"].is_boolean());
        assert_eq!(self.header("retry-after"), if status == 503 { "1" } else { "" });
        problem
    }
}

impl Client {
    pub(crate) fn over(stream: Stream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("an open connection");
    }

    /// Like [`send`](Self::send), for a server that may close meanwhile.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// The next answer, or `None` when the connection ended before one was whole.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.take_answer() {
                return Some(answer);
            }
            let mut piece = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece)).await.expect("an answer in time");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => self.unread.extend_from_slice(&piece[..bytes]),
            }
        }
    }

    fn take_answer(&mut self) -> Option<Answer> {
        let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.unread[..end].to_vec()).expect("a head of text");
        let mut lines = head.split("\r\n").take_while(|line| !line.is_empty());
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let headers: HeaderMap = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a header");
                (name.parse().expect("a name"), value.parse().expect("a value"))
            })
            .collect::<Vec<(http::HeaderName, http::HeaderValue)>>()
            .into_iter()
            .collect();
        let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
        let body = self.unread.get(end..end + length)?.to_vec();
        self.unread.drain(..end + length);
        Some(Answer { status, headers, body: String::from_utf8(body).expect("a body of text") })
    }

    /// Waits for the server to close, and says how long that took.
    pub(crate) async fn closed(&mut self) -> Duration {
        let began = std::time::Instant::now();
        assert!(self.answer().await.is_none(), "an answer where none was expected");
        began.elapsed()
    }
}

pub(crate) fn text_of(metrics: &Metrics) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    text
}

pub(crate) const GET: &str = "GET /queries/sales/tea HTTP/1.1\r\nHost: shop\r\n\r\n";
