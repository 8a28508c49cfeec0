//! Blocking work, done on the spot: whatever it blocks on, the virtual clock stands still meanwhile.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use runtime::{Job, WorkerQueue};

use crate::executor::Life;

pub(crate) struct InlineWorker {
    life: Arc<Life>,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    busy: bool,
}

impl InlineWorker {
    pub(crate) fn new(life: Arc<Life>) -> Self {
        Self { life, jobs: Mutex::default() }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        let next = jobs.waiting.pop_front();
        jobs.busy = next.is_some();
        next
    }
}

impl WorkerQueue for InlineWorker {
    fn submit(&self, job: Job) {
        {
            let mut jobs = self.jobs.lock();
            jobs.waiting.push_back(job);
            // A job that submits another one is not interrupted by it: one at a time, as on a thread.
            if jobs.busy {
                return;
            }
        }
        while let Some(job) = self.next() {
            // A dead process does nothing more, not even from a destructor that its crash runs.
            if !self.life.has_ended() {
                job();
            }
        }
    }
}
