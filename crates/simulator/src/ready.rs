//! Which tasks want to run.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
    thread::{self, ThreadId},
};

use parking_lot::Mutex;
use rand::{RngExt, rngs::StdRng};

pub(crate) type TaskId = u64;

pub(crate) struct Ready {
    /// A set in order of ids: the pick depends on who is ready, not on who woke whom first.
    tasks: Mutex<BTreeSet<TaskId>>,
    home: ThreadId,
    woken_from_elsewhere: AtomicBool,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { tasks: Mutex::default(), home: thread::current().id(), woken_from_elsewhere: AtomicBool::new(false) }
    }

    pub(crate) fn insert(&self, task: TaskId) {
        self.tasks.lock().insert(task);
    }

    pub(crate) fn remove(&self, task: TaskId) {
        self.tasks.lock().remove(&task);
    }

    pub(crate) fn take_one(&self, random: &mut StdRng) -> Option<TaskId> {
        let mut tasks = self.tasks.lock();
        if tasks.is_empty() {
            return None;
        }
        let picked = tasks.iter().copied().nth(random.random_range(0..tasks.len()))?;
        tasks.remove(&picked);
        Some(picked)
    }

    /// Whether something outside the simulation had a hand in it, so that the seed no longer determines the run.
    pub(crate) fn was_woken_from_elsewhere(&self) -> bool {
        self.woken_from_elsewhere.load(Ordering::Relaxed)
    }
}

/// Wakes one task. It may outlive the task: waking an ended one does nothing.
pub(crate) struct TaskWaker {
    task: TaskId,
    ready: Arc<Ready>,
}

impl TaskWaker {
    pub(crate) fn waker(task: TaskId, ready: &Arc<Ready>) -> Waker {
        Waker::from(Arc::new(Self { task, ready: Arc::clone(ready) }))
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if thread::current().id() != self.ready.home {
            self.ready.woken_from_elsewhere.store(true, Ordering::Relaxed);
        }
        self.ready.insert(self.task);
    }
}
