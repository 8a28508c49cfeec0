//! A gateway on a socket of its own, behind a Load Balancer in another process.

use std::sync::Arc;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tower::ServiceExt;
use wire::Responds;

use crate::ApiGateway;

/// Serves a gateway by [`wire::serve_http`]. It does not face the world: what comes has passed a Load Balancer, which has set
/// bounds to heads, bodies and connections.
pub struct Served<R> {
    gateway: ApiGateway,
    is_ready: Arc<R>,
}

impl<R: Fn() -> bool + Send + Sync + 'static> Served<R> {
    /// `is_ready` says whether requests are taken; a process that ends says no a while before it does.
    pub fn new(gateway: ApiGateway, is_ready: R) -> Self {
        Self { gateway, is_ready: Arc::new(is_ready) }
    }
}

impl<R> std::fmt::Debug for Served<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Served").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl<R: Fn() -> bool + Send + Sync + 'static> Responds for Served<R> {
    type Body = Body;

    fn respond(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        let gateway = self.gateway.clone();
        Box::pin(async move {
            match gateway.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }

    fn is_ready(&self) -> bool {
        (self.is_ready)()
    }

    fn say_ready(is_ready: bool) -> Response<Body> {
        let mut response = Response::new(Body::from(if is_ready { "ready\n" } else { "not ready\n" }));
        *response.status_mut() = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        response
    }
}
