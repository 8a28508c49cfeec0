//! The engine of production. The one place where the operating system's clock, threads and entropy are used.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this module is what the rest of the workspace is kept away from the system by"
)]

use std::{
    cell::RefCell,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::runtime::Handle;

use crate::{Engine, Job, WorkerQueue};

pub(crate) struct Production {
    began: Instant,
    tokio: Handle,
}

impl Production {
    pub(crate) fn new(tokio: Handle) -> Self {
        Self { began: Instant::now(), tokio }
    }
}

fn seeded_by_the_system() -> StdRng {
    let mut seed = <StdRng as SeedableRng>::Seed::default();
    // Without entropy neither ids nor keys can be trusted: better no start than a guessable one.
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut seed).expect("the system gives entropy");
    StdRng::from_seed(seed)
}

thread_local! {
    static GENERATOR: RefCell<StdRng> = RefCell::new(seeded_by_the_system());
}

impl Engine for Production {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        self.tokio.spawn(future);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        GENERATOR.with_borrow_mut(|generator| generator.fill_bytes(bytes));
    }

    fn stand_in(&self) -> bool {
        if self.tokio.metrics().num_workers() < 2 {
            return false;
        }
        // The last task to become ready waits for this very thread, which will run it next; the one before it is anybody's,
        // and wakes another thread. Finding nothing more to do, that one then waits for the sockets.
        self.tokio.spawn(std::future::ready(()));
        self.tokio.spawn(std::future::ready(()));
        true
    }

    fn worker(&self, name: &str) -> Box<dyn WorkerQueue> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                for job in queue {
                    job();
                }
            })
            .expect("the system gives a thread");
        Box::new(Thread(jobs))
    }
}

struct Thread(mpsc::Sender<Job>);

impl WorkerQueue for Thread {
    fn submit(&self, job: Job) {
        // A worker whose thread is gone drops the job, and with it the channel its caller waits on.
        let _ = self.0.send(job);
    }
}
