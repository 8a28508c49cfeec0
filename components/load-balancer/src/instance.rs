use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use http::{Request, Response};
use tower::{Service, ServiceExt};
use wire::{Candidate, EjectionLimits, Standing};

use crate::refusal::Refusal;

/// An answer to come, or what the user is told in its place.
pub(crate) type Answering = BoxFuture<'static, Result<Response<Body>, Refusal>>;

type Call = dyn Fn(Request<Body>) -> Answering + Send + Sync;

/// One API Gateway of this process, as the load balancer sees it: a service, whether it is ready, and what it has in flight.
/// Cheap to clone; clones are the same instance.
#[derive(Clone)]
pub struct Instance {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    call: Box<Call>,
    standing: Standing,
}

impl Instance {
    /// An instance that is ready from the start. `name` becomes the label `backend` of its metrics.
    ///
    /// The service is cloned for each request, so it has to be cheap to clone, as an axum `Router` is. It never fails: a
    /// broken gateway answers with a problem. It is not ejected either, since what breaks it breaks its neighbours as well.
    #[must_use]
    pub fn new<S>(name: impl Into<String>, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let call = Box::new(move |request| service.clone().oneshot(request).map_err(|never| match never {}).boxed());
        let standing = Standing::new(true, EjectionLimits::default());
        Self { inner: Arc::new(Inner { name: name.into(), call, standing }) }
    }

    /// The name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether it takes new requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.standing.is_ready()
    }

    /// Says whether it takes new requests. Those in flight go on.
    pub fn set_ready(&self, ready: bool) {
        self.inner.standing.set_ready(ready);
    }

    /// Requests whose answer has not yet been handed on to its last byte.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.standing.in_flight()
    }

    pub(crate) fn call(&self, request: Request<Body>) -> Answering {
        (self.inner.call)(request)
    }

    /// Counts one request until the guard is dropped.
    pub(crate) fn enter(&self) -> InFlight {
        self.inner.standing.enter();
        InFlight(self.clone())
    }
}

impl Candidate for Instance {
    fn standing(&self) -> &Standing {
        &self.inner.standing
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Instance")
            .field("name", &self.name())
            .field("standing", &self.inner.standing)
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
        self.0.inner.standing.leave();
    }
}
