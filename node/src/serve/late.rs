//! Services whose databases are not reached yet: calls are taken, and answered that nothing was done.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use command_service::{CommandOutcome, CommandRequest, CommandService, UnavailableReason};
use futures_util::future::BoxFuture;
use query_service::{ListQuery, PointQuery, QueryOutcome, QueryService};

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A service that comes later.
pub(super) struct Late<T: ?Sized>(Arc<OnceLock<Arc<T>>>);

impl<T: ?Sized> Default for Late<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: ?Sized> Clone for Late<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> Late<T> {
    /// There it is.
    pub(super) fn come(&self, service: Arc<T>) {
        // It comes once: whoever makes it holds the only way to say so.
        let _ = self.0.set(service);
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }
}

impl CommandService for Late<dyn CommandService> {
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        match self.0.get() {
            Some(service) => service.execute(request),
            None => Box::pin(async {
                // As of one that is ending: another instance may have it.
                let reason = UnavailableReason::Draining;
                CommandOutcome::Unavailable { reason, retry_after: RETRY_AFTER }
            }),
        }
    }
}

impl QueryService for Late<dyn QueryService> {
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome> {
        match self.0.get() {
            Some(service) => service.point(query),
            None => Box::pin(async { QueryOutcome::Unavailable { retry_after: RETRY_AFTER } }),
        }
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome> {
        match self.0.get() {
            Some(service) => service.list(query),
            None => Box::pin(async { QueryOutcome::Unavailable { retry_after: RETRY_AFTER } }),
        }
    }
}
