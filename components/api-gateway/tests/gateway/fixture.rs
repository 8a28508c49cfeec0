//! Services that answer what they are told, and a client that reads what comes back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use api_gateway::{ApiGateway, Config, Metrics};
use axum::body::Body;
use bytes::Bytes;
use command_service::{AcceptedEvent, CommandOutcome, CommandRequest, CommandService};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use model::{CommandId, ConsistencyToken, EpochId, EventId, EventType, Position, StreamVersion};
use prometheus_client::registry::Registry;
use query_service::{Answer, Body as Found, Freshness, ListQuery, PointQuery, QueryOutcome, QueryService};
use runtime::Runtime;
use serde_json::Value;
use tower::Service;
use uuid::Uuid;

/// What the services were asked, and what they answer.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) commands: Mutex<Vec<CommandRequest>>,
    pub(crate) points: Mutex<Vec<PointQuery>>,
    pub(crate) lists: Mutex<Vec<ListQuery>>,
    command_outcomes: Mutex<VecDeque<CommandOutcome>>,
    query_outcomes: Mutex<VecDeque<QueryOutcome>>,
    delay: Mutex<Option<Duration>>,
}

impl CommandService for Services {
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        self.commands.lock().expect("no test panics holding it").push(request);
        let outcome = self.command_outcomes.lock().expect("as above").pop_front().expect("a test sets every outcome");
        let delay = *self.delay.lock().expect("as above");
        Box::pin(async move {
            if let Some(delay) = delay {
                Runtime::tokio().sleep(delay).await;
            }
            outcome
        })
    }
}

impl Services {
    fn next(&self) -> BoxFuture<'_, QueryOutcome> {
        let delay = *self.delay.lock().expect("as above");
        Box::pin(async move {
            if let Some(delay) = delay {
                Runtime::tokio().sleep(delay).await;
            }
            self.query_outcomes.lock().expect("as above").pop_front().expect("a test sets every outcome")
        })
    }
}

impl QueryService for Services {
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome> {
        assert_ne!(query.key, "panic", "a test asked for it");
        self.points.lock().expect("as above").push(query);
        self.next()
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome> {
        self.lists.lock().expect("as above").push(query);
        self.next()
    }
}

/// A gateway, the services behind it, and the metrics it counts in.
pub(crate) struct Fixture {
    pub(crate) services: Arc<Services>,
    pub(crate) gateway: ApiGateway,
    pub(crate) registry: Registry,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let services = Arc::new(Services::default());
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let gateway = ApiGateway::new(Runtime::tokio(), services.clone(), services.clone(), config, metrics);
        Self { services, gateway, registry }
    }

    pub(crate) fn command_answers(&self, outcome: CommandOutcome) -> &Self {
        self.services.command_outcomes.lock().expect("as above").push_back(outcome);
        self
    }

    pub(crate) fn query_answers(&self, outcome: QueryOutcome) -> &Self {
        self.services.query_outcomes.lock().expect("as above").push_back(outcome);
        self
    }

    pub(crate) fn after(&self, delay: Duration) -> &Self {
        *self.services.delay.lock().expect("as above") = Some(delay);
        self
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.gateway.clone().call(request).await.expect("a gateway always answers");
        Reply::of(response).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send(get(target, &[])).await
    }

    pub(crate) fn last_command(&self) -> CommandRequest {
        self.services.commands.lock().expect("as above").pop().expect("a command arrived")
    }

    pub(crate) fn last_point(&self) -> PointQuery {
        self.services.points.lock().expect("as above").pop().expect("a query arrived")
    }

    pub(crate) fn last_list(&self) -> ListQuery {
        self.services.lists.lock().expect("as above").pop().expect("a query arrived")
    }
}

pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_empty() { Body::empty() } else { Body::from(body.to_owned()) };
    request.body(body).expect("a request that a client could send")
}

pub(crate) fn get(target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    request("GET", target, headers, "")
}

/// A command as a client sends it.
pub(crate) fn post(target: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    request("POST", target, &all, body)
}

/// A response whose body has been read.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response<()>,
    pub(crate) body: Bytes,
}

impl Reply {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body from memory").to_bytes();
        Self { response: Response::from_parts(parts, ()), body }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().expect("headers of ours are text"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies of ours are text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("bodies of ours are JSON")
    }

    /// Asserts that it is a problem of this status and code, whole as RFC 9457 and we have it, and returns it.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((self.status(), problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["status"], status, "the member equals the real one");
        let request_id = self.header("x-request-id").expect("every answer names its request");
        assert_eq!(problem["instance"], format!("urn:uuid:{request_id}"));
        let kind = problem["type"].as_str().expect("every problem has a type");
        assert!(kind == format!("/errors/{code}") || kind.starts_with("https://iana.org/"), "{kind}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {problem}");
        }
        assert!(problem["retryable"].is_boolean());
        assert_eq!(problem["trace_id"].as_str().map(str::len), Some(32));
        if status == 503 {
            let seconds: u64 = self.header("retry-after").and_then(|text| text.parse().ok()).expect("503 says when");
            assert!(seconds >= 1, "{seconds}");
        }
        problem
    }
}

pub(crate) fn position(number: u64) -> Position {
    Position::new(number).expect("counted from 1")
}

pub(crate) fn version(number: u64) -> StreamVersion {
    StreamVersion::new(number).expect("counted from 1")
}

pub(crate) fn token(number: u64) -> ConsistencyToken {
    ConsistencyToken { epoch: EpochId(Uuid::from_u128(7)), position: position(number) }
}

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What the service says of the order that http.md's example places.
pub(crate) fn accepted(created: bool, replayed: bool) -> CommandOutcome {
    CommandOutcome::Accepted {
        command_id: CommandId(Uuid::from_u128(1)),
        version: Some(version(1)),
        created,
        events: vec![AcceptedEvent {
            id: EventId(Uuid::from_u128(2)),
            event_type: EventType { name: "order.placed".into(), version: 1 },
            version: version(1),
            position: position(4711),
        }],
        token: Some(token(4711)),
        trace_id: Some(u128::from_str_radix(TRACE, 16).expect("hexadecimal")),
        replayed,
    }
}

/// An answer of generation 3 at position 4711.
pub(crate) fn answered(body: Found, freshness: Freshness) -> QueryOutcome {
    let generation = serde_json::from_str("3").expect("a number");
    QueryOutcome::Answered(Answer { body, generation, token: Some(token(4711)), freshness })
}

pub(crate) fn row(body: &'static str) -> Found {
    Found::Row { body: Bytes::from_static(body.as_bytes()), position: position(4699) }
}

pub(crate) fn page(rows: &[&'static str], next_page_token: Option<&str>) -> Found {
    Found::Page {
        rows: rows.iter().map(|row| Bytes::from_static(row.as_bytes())).collect(),
        next_page_token: next_page_token.map(str::to_owned),
        position: Some(position(4711)),
    }
}

pub(crate) const OK: u16 = StatusCode::OK.as_u16();
