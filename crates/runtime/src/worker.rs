use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::WorkerQueue;

/// Runs blocking work, one job at a time, in order of submission. Cheap to clone; ends when the last clone is dropped.
#[derive(Clone)]
pub struct Worker {
    queue: Arc<dyn WorkerQueue>,
}

/// The job did not finish: it panicked, or the worker ended before it. What it did until then is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("blocking work ended without a result")]
pub struct WorkerGone;

impl Worker {
    pub(crate) fn new(queue: Box<dyn WorkerQueue>) -> Self {
        Self { queue: queue.into() }
    }

    /// Queues `job` now, at the call, and returns a future of its result. The job runs even when the future is dropped.
    pub fn run<T, F>(&self, job: F) -> impl Future<Output = Result<T, WorkerGone>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        self.queue.submit(Box::new(move || {
            // A panic ends the job, not the worker: the next job finds it alive.
            if let Ok(output) = catch_unwind(AssertUnwindSafe(job)) {
                let _ = done.send(output);
            }
        }));
        async move { result.await.map_err(|_| WorkerGone) }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Worker").finish_non_exhaustive()
    }
}
