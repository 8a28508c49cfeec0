use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::Leave;

/// One piece of blocking work.
pub type Job = Box<dyn FnOnce() + Send>;

/// What stands behind a [`Runtime`](crate::Runtime): tokio in production, the seeded executor in a simulation.
pub trait Engine: Send + Sync + 'static {
    /// Monotonic time since the engine began. Never goes back, never jumps.
    fn now(&self) -> Duration;

    /// The wall clock. For people and for a decision's `Context` only: nothing is ordered or expired by it.
    fn wall_clock(&self) -> Timestamp;

    /// Completes once `span` of monotonic time has passed.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;

    /// Runs `future` to its end, independent of who started it. `name` is for people who read a task list.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>);

    /// Fills `bytes` from the engine's generator.
    fn fill_random(&self, bytes: &mut [u8]);

    /// Leave to block for a moment within a task. `None` where nobody else could look after tasks and sockets meanwhile.
    fn leave_to_block(&self) -> Option<Leave>;

    /// Lets other threads that are ready go first. For blocking work; a simulation has no other threads.
    fn yield_thread(&self);

    /// Starts a worker: jobs run one at a time, in the order of submission. A simulation runs them on the spot.
    fn worker(&self, name: &str) -> Box<dyn WorkerQueue>;
}

/// The submitting end of a worker. Dropping it ends the worker after the jobs already submitted.
pub trait WorkerQueue: Send + Sync + 'static {
    /// Queues a job. Callers bound how much they have under way; the queue itself does not refuse.
    fn submit(&self, job: Job);
}
