use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use command_service::CommandService;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use http::{HeaderValue, Method, Request, Response, header, request};
use query_service::QueryService;
use runtime::Runtime;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::{
    Config, Metrics,
    identity::Identity,
    problem::{self, Problem},
    route::Route,
    telemetry::{BOX, HOP},
};

/// One gateway, as a `tower` service. Clones are the same gateway and share its limits.
#[derive(Clone)]
pub struct ApiGateway {
    shared: Arc<Shared>,
}

/// What all requests of a gateway share.
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) commands: Arc<dyn CommandService>,
    pub(crate) queries: Arc<dyn QueryService>,
    pub(crate) config: Config,
    metrics: Metrics,
    slots: Semaphore,
}

impl ApiGateway {
    /// A gateway before these services.
    #[must_use]
    pub fn new(
        runtime: Runtime,
        commands: Arc<dyn CommandService>,
        queries: Arc<dyn QueryService>,
        config: Config,
        metrics: Metrics,
    ) -> Self {
        let slots = Semaphore::new(config.requests_max.min(Semaphore::MAX_PERMITS));
        Self { shared: Arc::new(Shared { runtime, commands, queries, config, metrics, slots }) }
    }
}

impl std::fmt::Debug for ApiGateway {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ApiGateway").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl tower::Service<Request<Body>> for ApiGateway {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    /// Always ready: at its limit it answers 503, so that a client learns of it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move { Ok(shared.answer(request).await) })
    }
}

impl Shared {
    /// What surrounds every request: identity, limit, span, panics, metrics.
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let began = self.runtime.now();
        let (parts, body) = request.into_parts();
        let identity = Identity::of(&parts.headers, &self.runtime);
        let route = Route::of(parts.uri.path());
        let answer = AssertUnwindSafe(self.admitted(route, &parts, body, &identity)).catch_unwind();
        let span = tracing::debug_span!(
            target: HOP,
            "api-gateway",
            diptych.r#box = BOX,
            diptych.hop = 2,
            trace_id = %format_args!("{:032x}", identity.trace.trace_id)
        );
        let answer = if span.is_disabled() { answer.await } else { answer.instrument(span).await };
        let answer = answer.unwrap_or_else(|_| {
            tracing::error!(
                request.id = %identity.request_id,
                "a request panicked: this is a defect of the server, report it with the lines above"
            );
            Err(Problem::new(&problem::INTERNAL, "the server failed: its log has the details under the trace id"))
        });
        let mut response =
            answer.unwrap_or_else(|problem| problem.into_response(&identity, &self.config.error_pages_url));
        if parts.method == Method::HEAD {
            response = without_body(response);
        }
        identity.write(response.headers_mut());
        self.metrics.answered(route, &parts.method, response.status(), self.runtime.now().saturating_sub(began));
        response
    }

    async fn admitted(
        &self,
        route: Route<'_>,
        parts: &request::Parts,
        body: Body,
        identity: &Identity,
    ) -> Result<Response<Body>, Problem> {
        let Ok(_slot) = self.slots.try_acquire() else {
            self.metrics.limited();
            return Err(Problem::shed(Duration::from_secs(1)));
        };
        if !route.allows(&parts.method) {
            let allow = route.allow();
            return Err(Problem::new(
                &problem::METHOD_NOT_ALLOWED,
                format!("{} does not work here: use {allow}", parts.method),
            )
            .with_header(header::ALLOW, HeaderValue::from_static(allow)));
        }
        match route {
            Route::Point { read_model, key } => self.point(parts, read_model, key, identity).await,
            Route::List { read_model } => self.list(parts, read_model, identity).await,
            Route::Command { aggregate, id, command } => {
                self.command(parts, [aggregate, id, command], body, identity).await
            }
            Route::ErrorPage { code } => problem::page(code),
            Route::Nothing => Err(Problem::new(
                &problem::NOT_FOUND,
                "there are POST /commands/{aggregate}/{id}/{command}, GET /queries/{read_model}/{key} and GET \
                 /queries/{read_model}?field=eq.value; status, metrics and health are on the admin listener",
            )),
        }
    }

    /// Runs `future` for at most `span`; `None` when time ran out. Without a timer where the answer is there at once.
    pub(crate) async fn within<F: Future + Unpin>(&self, span: Duration, mut future: F) -> Option<F::Output> {
        if let Poll::Ready(output) = futures_util::poll!(&mut future) {
            return Some(output);
        }
        match select(future, self.runtime.sleep(span)).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }
}

/// As HEAD is answered: the length is that of the body it does not have.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = axum::body::HttpBody::size_hint(&body).exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Body::empty())
}
