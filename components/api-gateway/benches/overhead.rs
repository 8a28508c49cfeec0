//! What the gateway costs over a bare axum handler, without sockets: nanoseconds a call, the median of interleaved rounds.
//!
//! `cargo bench -p diptych-api-gateway`. The services behind it answer constants, so that nothing else is measured.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]

use std::{convert::Infallible, hint::black_box, sync::Arc, time::Instant};

use api_gateway::{ApiGateway, Config, Metrics};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use command_service::{AcceptedEvent, CommandOutcome, CommandRequest, CommandService};
use futures_util::future::{BoxFuture, FutureExt};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use model::{CommandId, ConsistencyToken, EpochId, EventId, EventType, Position, StreamVersion};
use prometheus_client::registry::Registry;
use query_service::{Answer, Body as Found, Freshness, ListQuery, PointQuery, QueryOutcome, QueryService};
use runtime::Runtime;
use tower::Service;
use uuid::Uuid;

const CALLS: u32 = 100_000;
const ROUNDS: usize = 9;
const ROW: &str = r#"{"invoice":"536365","customer":"17850","country":"United Kingdom","status":"placed","units":40,"total":"139.120","placed_at":"2010-12-01T08:26:00"}"#;
const FIELDS: &str = r#"{"customer":"c-7","lines":[{"stock_code":"tea-100","quantity":2,"price":"4.500"}]}"#;

struct Constant {
    answer: QueryOutcome,
    accepted: CommandOutcome,
}

impl QueryService for Constant {
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome> {
        black_box(query);
        std::future::ready(self.answer.clone()).boxed()
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome> {
        black_box(query);
        std::future::ready(self.answer.clone()).boxed()
    }
}

impl CommandService for Constant {
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        black_box(request);
        std::future::ready(self.accepted.clone()).boxed()
    }
}

fn constant() -> Constant {
    let position = Position::new(4711).expect("counted from 1");
    let token = Some(ConsistencyToken { epoch: EpochId(Uuid::from_u128(7)), position });
    let body = Found::Row { body: Bytes::from_static(ROW.as_bytes()), position };
    let generation = serde_json::from_str("3").expect("a number");
    let version = StreamVersion::FIRST;
    let event_type = EventType { name: "order.placed".into(), version: 1 };
    let event = AcceptedEvent { id: EventId(Uuid::from_u128(2)), event_type, version, position };
    Constant {
        answer: QueryOutcome::Answered(Answer { body, generation, token, freshness: Freshness::Fresh }),
        accepted: CommandOutcome::Accepted {
            command_id: CommandId(Uuid::from_u128(1)),
            version: Some(version),
            created: true,
            events: vec![event],
            token,
            trace_id: Some(1),
            replayed: false,
        },
    }
}

fn gateway() -> ApiGateway {
    let services = Arc::new(constant());
    let metrics = Metrics::new(&mut Registry::default());
    ApiGateway::new(Runtime::tokio(), services.clone(), services, Config::default(), metrics)
}

/// The least that axum does for the same two requests.
fn bare() -> Router {
    let row = Bytes::from_static(ROW.as_bytes());
    let read = |State(row): State<Bytes>, Path(path): Path<(String, String)>| async move {
        black_box(path);
        ([(header::CONTENT_TYPE, "application/json")], row).into_response()
    };
    let write = |Path(path): Path<(String, String, String)>, fields: Bytes| async move {
        black_box((path, fields));
        ([(header::CONTENT_TYPE, "application/json")], Bytes::from_static(ROW.as_bytes())).into_response()
    };
    Router::new()
        .route("/queries/{read_model}/{*key}", get(read))
        .route("/commands/{aggregate}/{id}/{command}", post(write))
        .with_state(row)
}

fn point() -> Request<Body> {
    let id = "0199ab10-5c1e-7d04-9e6b-2f6d1c0a9b11";
    let request = Request::get("/queries/order_summary/536365").header("x-request-id", id).header("accept", "*/*");
    request.body(Body::empty()).expect("a request")
}

fn command() -> Request<Body> {
    let id = "0199ab10-5c1e-7d04-9e6b-2f6d1c0a9b11";
    let request = Request::post("/commands/order/o-1/place").header("x-request-id", id);
    let request = request.header("content-type", "application/json").header("accept", "*/*");
    request.body(Body::from(FIELDS)).expect("a request")
}

async fn nanoseconds<S>(service: &S, request: fn() -> Request<Body>) -> f64
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let began = Instant::now();
    for _ in 0..CALLS {
        let response = service.clone().call(request()).await.unwrap_or_default();
        assert!(response.status().is_success());
        black_box(response.into_body().collect().await.expect("a body from memory"));
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (bare, gateway) = (bare(), gateway());
    for (name, request) in [("point read", point as fn() -> Request<Body>), ("command", command)] {
        let (mut of_bare, mut of_gateway) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_bare.push(nanoseconds(&bare, request).await);
            of_gateway.push(nanoseconds(&gateway, request).await);
        }
        let (bare, gateway) = (median(of_bare), median(of_gateway));
        println!("{name}: bare axum {bare:.0} ns, gateway {gateway:.0} ns, difference {:.0} ns", gateway - bare);
    }
}
