//! A group of tasks that live and die together.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::{Engine, Leave, Runtime, WorkerQueue};

use crate::{
    executor::{Executor, Life},
    timer::Sleep,
    worker::InlineWorker,
};

/// Where the wall clock stands when a simulation begins: the first second of 2030, UTC.
const WALL_CLOCK_BASE: Timestamp = Timestamp::constant(1_893_456_000, 0);

/// A simulated process: what is spawned through its runtime is gone after [`crash`](Self::crash). Cheap to clone.
#[derive(Clone)]
pub struct Process {
    executor: Arc<Executor>,
    life: Arc<Mutex<Arc<Life>>>,
}

impl Process {
    pub(crate) fn new(executor: Arc<Executor>, name: &str) -> Self {
        Self { executor, life: Arc::new(Mutex::new(Life::begin(name))) }
    }

    /// The runtime of this life of the process. After a crash ask again: that of the life before is dead.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        Runtime::new(ProcessEngine { executor: Arc::clone(&self.executor), life: self.life() })
    }

    /// Drops all tasks of the process, in mid-sentence; a task that crashes its own process gets to its next `await`.
    ///
    /// From here on whoever still holds the old runtime can do nothing with it: what it spawns or submits is dropped, and
    /// its sleeps do not end. The process then lives again, without tasks: start them through [`runtime`](Self::runtime).
    ///
    /// Destructors do run, as they do not in a real crash. What must not happen then, such as a file that is closed
    /// properly, has to be modelled where it happens.
    pub fn crash(&self) {
        let ended = {
            let mut life = self.life.lock();
            let next = Life::begin(&life.process);
            std::mem::replace(&mut *life, next)
        };
        self.executor.end(&ended);
    }

    /// How many of its tasks have not ended.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.executor.count_tasks_of(&self.life())
    }

    fn life(&self) -> Arc<Life> {
        Arc::clone(&self.life.lock())
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Process").field("name", &self.life().process).finish_non_exhaustive()
    }
}

struct ProcessEngine {
    executor: Arc<Executor>,
    life: Arc<Life>,
}

impl Engine for ProcessEngine {
    fn now(&self) -> Duration {
        self.executor.now()
    }

    fn wall_clock(&self) -> Timestamp {
        WALL_CLOCK_BASE + self.executor.now()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Sleep::new(Arc::clone(&self.executor), Arc::clone(&self.life), span))
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        self.executor.spawn(&self.life, name, future);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.executor.fill_random(bytes);
    }

    /// All work is done on the spot anyhow, by a worker that ends with its process.
    fn leave_to_block(&self) -> Option<Leave> {
        None
    }

    fn yield_thread(&self) {}

    fn worker(&self, _name: &str) -> Box<dyn WorkerQueue> {
        Box::new(InlineWorker::new(Arc::clone(&self.life)))
    }
}
