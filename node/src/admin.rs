//! The operator's listener: status, metrics, health, and faults to practise with. Loopback only.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a listener is an adapter at the edge: it has tokio's sockets and tasks"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, Method, StatusCode, header};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use runtime::Shutdown;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{Error, error::Listener};

/// All pages, for those who ask for another one.
const PAGES: &str =
    "GET /status, /metrics, /livez, /readyz, /readyz?verbose and /startupz; POST and DELETE /faults/queue";

/// What the operator can ask of a process.
pub(crate) trait Operated: Send + Sync + 'static {
    /// Head, mode, and each projection's place.
    fn status(&self) -> futures_util::future::BoxFuture<'_, Value>;
    /// Each thing that has to be so before requests may come, and whether it is.
    fn readiness(&self) -> Vec<(String, bool)>;
    /// Turns the message queue off or on; `false` where that is refused.
    fn set_queue_off(&self, off: bool) -> bool;
}

#[derive(Clone)]
struct Admin {
    operated: Arc<dyn Operated>,
    metrics: Arc<Registry>,
    api_address: SocketAddr,
    error_pages_url: Arc<str>,
}

/// The interface beside it.
pub(crate) struct Front {
    pub(crate) api_address: SocketAddr,
    /// What stands before an error's code in a problem's `type`.
    pub(crate) error_pages_url: Arc<str>,
}

/// Most connections at a time: an operator and a scraper, not the world.
const CONNECTIONS_MAX: usize = 64;
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listened = match runtime::inherited_listener(address) {
        Some(socket) => socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)),
        None => TcpListener::bind(address).await,
    };
    listened.map_err(|source| Error::Listen { listener: Listener::Admin, address, source: source.into() })
}

pub(crate) async fn serve(
    listener: TcpListener,
    operated: Arc<dyn Operated>,
    metrics: Arc<Registry>,
    front: Front,
    shutdown: Shutdown,
) {
    let Front { api_address, error_pages_url } = front;
    let router = router(Admin { operated, metrics, api_address, error_pages_url });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((socket, _)), Ok(place)) = (accepted, places.clone().try_acquire_owned()) else {
            // Out of descriptors, or too many at once: neither gets better by asking again at once.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
            // How a client of ours ends its connection is its own affair.
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/startupz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/faults/queue", post(queue_off).delete(queue_on))
        .fallback(|State(admin): State<Admin>| async move {
            admin.problem(&NOT_FOUND, &format!("this is the admin listener: there are {PAGES}; {}", admin.elsewhere()))
        })
        .method_not_allowed_fallback(|State(admin): State<Admin>| async move {
            admin.problem(&METHOD_NOT_ALLOWED, &format!("this page does not take that method, there are {PAGES}"))
        })
        .layer(middleware::from_fn_with_state(admin.clone(), from_here_only))
        .with_state(admin)
}

/// A page in a browser must not reach this listener: neither under a foreign name (DNS rebinding) nor by a form.
async fn from_here_only(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.parse::<u16>().is_ok() { name } else { host });
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return admin.problem(&FORBIDDEN, "ask for this listener by its loopback address");
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && request.headers().contains_key(header::ORIGIN) {
        return admin.problem(&FORBIDDEN, "a page of another origin may change nothing here");
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn status(State(admin): State<Admin>) -> Response {
    let mut text = serde_json::to_string_pretty(&admin.operated.status().await).unwrap_or_default();
    text.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.metrics) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => admin.problem(&INTERNAL, "the metrics cannot be written"),
    }
}

async fn readyz(State(admin): State<Admin>, request: Request) -> Response {
    let checks = admin.operated.readiness();
    let ready = checks.iter().all(|(_, passed)| *passed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::new();
    if request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "verbose")) {
        for (check, passed) in checks {
            text.push_str(&format!("{check}: {}\n", if passed { "ok" } else { "not ready" }));
        }
    }
    text.push_str(if ready { "ok\n" } else { "not ready\n" });
    (status, text).into_response()
}

async fn queue_off(State(admin): State<Admin>) -> Response {
    if !admin.operated.set_queue_off(true) {
        return admin.problem(&FORBIDDEN, NOT_IN_DEV);
    }
    tracing::warn!("the message queue was turned off by the fault control");
    line(&json!({ "queue": "off" }))
}

async fn queue_on(State(admin): State<Admin>) -> Response {
    if !admin.operated.set_queue_off(false) {
        return admin.problem(&FORBIDDEN, NOT_IN_DEV);
    }
    tracing::info!("the message queue was turned on by the fault control");
    line(&json!({ "queue": "on" }))
}

const NOT_IN_DEV: &str = "faults can be made where `dev` runs every box, and nowhere else";

/// For people at a terminal, who want their prompt on a line of its own.
fn line(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

/// What is constant about an error: status, code, title. The words are those of the interface.
type Code = (StatusCode, &'static str, &'static str);

const FORBIDDEN: Code = (StatusCode::FORBIDDEN, "forbidden", "This is not for whoever asks so");
const NOT_FOUND: Code = (StatusCode::NOT_FOUND, "not-found", "There is nothing here");
const METHOD_NOT_ALLOWED: Code =
    (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not possible here");
const INTERNAL: Code = (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed");

impl Admin {
    /// Where those want to be who send commands and queries here.
    fn elsewhere(&self) -> String {
        format!("commands and queries go to http://{}", self.api_address)
    }

    fn problem(&self, (status, code, title): &Code, detail: &str) -> Response {
        let problem = json!({
            "type": format!("{}{code}", self.error_pages_url),
            "title": title,
            "status": status.as_u16(),
            "code": code,
            "retryable": false,
            "detail": detail,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (*status, kind, Body::from(format!("{problem}\n"))).into_response()
    }
}

/// One projection, as the status shows it. `incomplete` where it lacks what the log had at the start, if that is known.
pub(crate) fn projection(projection: &event_handler::ProjectionStatus) -> Value {
    json!({
        "name": projection.name,
        "version": projection.version,
        "generation": projection.generation,
        "serving": projection.serving,
        "position": model::Position::count(projection.checkpoint),
        "lag_events": projection.lag_events,
        "held": projection.held,
        "alarm": projection.alarm,
        "applied_from_queue": projection.applied_from_queue,
        "applied_from_log": projection.applied_from_log,
        "owned": projection.owned,
    })
}
