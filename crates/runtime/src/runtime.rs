use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, select};
use jiff::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{Engine, Leave, Worker, production::Production};

/// Handle to time, tasks, randomness and blocking work. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    engine: Arc<dyn Engine>,
}

/// The deadline passed before the future was done; the future was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not done within {0:?}")]
pub struct Elapsed(pub Duration);

impl Runtime {
    /// The production runtime: tasks on the current tokio runtime, a thread for each worker.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn tokio() -> Self {
        Self::new(Production::new(tokio::runtime::Handle::current()))
    }

    /// A runtime over any engine.
    pub fn new(engine: impl Engine) -> Self {
        Self { engine: Arc::new(engine) }
    }

    /// Monotonic time since the runtime began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.engine.now()
    }

    /// The wall clock, for people and for a decision's `Context` only.
    #[must_use]
    pub fn wall_clock(&self) -> Timestamp {
        self.engine.wall_clock()
    }

    /// Completes once `span` has passed.
    pub fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.engine.sleep(span)
    }

    /// Runs `future` for at most `span`.
    ///
    /// # Errors
    /// [`Elapsed`] when time ran out first; `future` is dropped then.
    pub async fn timeout<F: Future>(&self, span: Duration, future: F) -> Result<F::Output, Elapsed> {
        match select(std::pin::pin!(future), self.sleep(span)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed(span)),
        }
    }

    /// Runs `future` to its end, whatever becomes of the returned [`Task`].
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (done, output) = oneshot::channel();
        self.engine.spawn(
            name,
            Box::pin(async move {
                // The receiver may be gone: tasks are detached.
                let _ = done.send(future.await);
            }),
        );
        Task { output }
    }

    /// Eight random bytes.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.engine.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Fills `bytes` at random. Good enough for keys in production: the generator is cryptographic and seeded by the system.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.engine.fill_random(bytes);
    }

    /// A fresh UUID of version 7 (RFC 9562): its order is approximately that of time, and nothing depends on that.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        self.engine.fill_random(&mut random);
        let milliseconds = u64::try_from(self.engine.wall_clock().as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }

    /// Leave to block for a moment, within a task: a few hundred microseconds, where handing the work over and being woken
    /// again would take as long. Should it last longer, another thread is called to look after tasks and sockets, within
    /// about two milliseconds. With `None` the caller must hand the work to a [`Worker`].
    #[must_use]
    pub fn leave_to_block(&self) -> Option<Leave> {
        self.engine.leave_to_block()
    }

    /// Lets other threads that are ready go first. Within a [`Worker`]'s job only: a task lets others go by awaiting.
    pub fn yield_thread(&self) {
        self.engine.yield_thread();
    }

    /// Starts a worker for blocking work.
    #[must_use]
    pub fn worker(&self, name: &str) -> Worker {
        Worker::new(self.engine.worker(name))
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// A detached task's result. Dropping it leaves the task running.
#[derive(Debug)]
pub struct Task<T> {
    output: oneshot::Receiver<T>,
}

impl<T> Future for Task<T> {
    /// `None` when the task panicked or its runtime ended before it did.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.output).poll(context).map(Result::ok)
    }
}
