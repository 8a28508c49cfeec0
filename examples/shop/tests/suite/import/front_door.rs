use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use diptych::model::Rejection;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::domain::log::Log;

/// How the front door fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    None,
    /// Every third request is put off before anything is done.
    Unavailable,
    /// Every third connection is closed after the command is done and before its answer.
    Hangup,
    /// It takes its time over each answer.
    Slow,
    /// It is no shop at all.
    Nonsense,
}

/// Answers on a port of its own until it is dropped.
pub(super) struct FrontDoor {
    pub(super) url: String,
    state: Arc<State>,
    _runtime: Runtime,
}

struct State {
    log: Mutex<Log>,
    /// Answers by path and idempotency key.
    answers: Mutex<BTreeMap<(String, String), (StatusCode, Value)>>,
    faults: Mutex<Faults>,
    requests: AtomicU64,
}

impl FrontDoor {
    pub(super) fn open(faults: Faults) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let state = Arc::new(State {
            log: Mutex::default(),
            answers: Mutex::default(),
            faults: Mutex::new(faults),
            requests: AtomicU64::new(0),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        runtime.spawn(serve(listener, state.clone()));
        Self { url, state, _runtime: runtime }
    }

    pub(super) fn with_log<T>(&self, use_it: impl FnOnce(&Log) -> T) -> T {
        use_it(&self.state.log.lock().expect("no test fails while it holds the log"))
    }

    pub(super) fn forget_keys(&self) {
        self.state.answers.lock().expect("nobody fails while holding the answers").clear();
    }

    pub(super) fn heal(&self) {
        *self.state.faults.lock().expect("nobody fails while holding the faults") = Faults::None;
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        let service = service_fn(move |request| answer(request, state.clone()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

type Answer = Result<Response<Full<Bytes>>, &'static str>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the request is cut off")?.to_bytes();
    let faults = *state.faults.lock().expect("nobody fails while holding the faults");
    let third = state.requests.fetch_add(1, Ordering::Relaxed) % 3 == 2;
    match faults {
        Faults::Nonsense => return Ok(response(StatusCode::NOT_FOUND, &json!("what?"))),
        Faults::Unavailable if third => {
            let problem = json!({"code": "unavailable", "detail": "not now", "retryable": true});
            return Ok(response(StatusCode::SERVICE_UNAVAILABLE, &problem));
        }
        Faults::Slow => tokio::time::sleep(Duration::from_millis(50)).await,
        _ => {}
    }
    let answer = if parts.method == Method::GET {
        state.query(parts.uri.path(), &parts.headers)
    } else {
        state.command(parts.uri.path(), &parts.headers, &body)
    };
    // An error closes the connection without a word.
    if faults == Faults::Hangup && third { Err("hung up") } else { Ok(answer) }
}

impl State {
    fn command(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        let key = headers["idempotency-key"].to_str().expect("a key is ASCII").to_owned();
        assert!(key.len() <= 255 && key.starts_with('"') && key.ends_with('"'), "{key}");
        let mut answers = self.answers.lock().expect("nobody fails while holding the answers");
        if let Some((status, body)) = answers.get(&(path.to_owned(), key.clone())) {
            let mut replay = response(*status, body);
            replay.headers_mut().insert("idempotency-replayed", header::HeaderValue::from_static("true"));
            return replay;
        }
        let mut log = self.log.lock().expect("no test fails while it holds the log");
        let fields = serde_json::from_slice(body).expect("a command's fields are JSON");
        let command = path.strip_prefix("/commands/").expect("a command's path");
        let (status, answer) = match log.execute(&decoded(command), &fields) {
            Ok(events) => (StatusCode::CREATED, json!({"events": events})),
            Err(Rejection::Refused { code, detail, .. }) => {
                let aggregate = command.split('/').next().unwrap_or_default();
                let problem = json!({"code": format!("{aggregate}.{code}"), "detail": detail, "retryable": false});
                (StatusCode::UNPROCESSABLE_ENTITY, problem)
            }
            Err(other) => panic!("{path} is answered with {other:?}"),
        };
        let response = response(status, &answer);
        answers.insert((path.to_owned(), key), (status, answer));
        response
    }

    /// All rows are as new as the log is, so any token has been reached.
    fn query(&self, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        assert_eq!(headers["consistency-token"], TOKEN);
        assert_eq!(headers["prefer"], "wait=30");
        let (read_model, key) = path["/queries/".len()..].split_once('/').expect("a query's path");
        match self.log.lock().expect("no test fails while it holds the log").rows(read_model, 100).get(key) {
            Some(row) => response(StatusCode::OK, row),
            None => response(StatusCode::NOT_FOUND, &json!({"code": "not-found", "retryable": false})),
        }
    }
}

const TOKEN: &str = "v1.made-up";

fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8().expect("a path is UTF-8").into_owned()
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("consistency-token", TOKEN);
    response.body(Full::new(body.to_string().into())).expect("a response can be made")
}
