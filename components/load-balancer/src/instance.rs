use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::body::Body;
use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use prometheus_client::metrics::gauge::Gauge;
use tower::{Service, ServiceExt};

use crate::Metrics;

/// What an instance answers with. It never fails: a broken gateway answers with a problem.
pub(crate) type Answering = BoxFuture<'static, Result<Response<Body>, Infallible>>;

type Call = dyn Fn(Request<Body>) -> Answering + Send + Sync;

/// One API Gateway instance, as the load balancer sees it: a service, whether it is ready, and what it has in flight.
/// Cheap to clone; clones are the same instance.
#[derive(Clone)]
pub struct Instance {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    call: Box<Call>,
    ready: AtomicBool,
    in_flight: AtomicUsize,
    up: Gauge,
}

impl Instance {
    /// An instance that is ready from the start. `name` becomes the label `backend` of its metrics.
    ///
    /// The service is cloned for each request, so it has to be cheap to clone, as an axum `Router` is.
    #[must_use]
    pub fn new<S>(name: impl Into<String>, service: S, metrics: &Metrics) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let name = name.into();
        let up = metrics.backend_up(&name);
        up.set(1);
        let call = Box::new(move |request| service.clone().oneshot(request).boxed());
        let inner = Inner { name, call, ready: AtomicBool::new(true), in_flight: AtomicUsize::new(0), up };
        Self { inner: Arc::new(inner) }
    }

    /// The name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether it takes new requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::Relaxed)
    }

    /// Says whether it takes new requests. Those in flight go on.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Relaxed);
        self.inner.up.set(i64::from(ready));
    }

    /// Requests whose answer has not yet been handed on to its last byte.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn call(&self, request: Request<Body>) -> Answering {
        (self.inner.call)(request)
    }

    /// Counts one request until the guard is dropped.
    pub(crate) fn enter(&self) -> InFlight {
        self.inner.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Instance")
            .field("name", &self.name())
            .field("ready", &self.is_ready())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// One request on its way through an instance.
pub(crate) struct InFlight(Instance);

impl InFlight {
    pub(crate) fn instance(&self) -> &Instance {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.inner.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
