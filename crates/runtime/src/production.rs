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

use crate::{Engine, Job, Leave, WorkerQueue, stand_in::StandIn};

pub(crate) struct Production {
    began: Instant,
    /// `None` where the runtime has no second thread that could be called.
    stand_in: Option<StandIn>,
    tokio: Handle,
}

impl Production {
    pub(crate) fn new(tokio: Handle) -> Self {
        let stand_in = (tokio.metrics().num_workers() > 1).then(|| StandIn::start(tokio.clone()));
        Self { began: Instant::now(), stand_in, tokio }
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

    fn leave_to_block(&self) -> Option<Leave> {
        self.stand_in.as_ref().map(StandIn::leave)
    }

    fn yield_thread(&self) {
        thread::yield_now();
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        thread,
        time::Duration,
    };

    use crate::Runtime;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn timers_and_tasks_go_on_while_a_task_blocks_with_a_stand_in() {
        let runtime = Runtime::tokio();
        let ticks = Arc::new(AtomicU32::new(0));
        let (ticking, clock) = (ticks.clone(), runtime.clone());
        runtime.spawn("ticker", async move {
            loop {
                clock.sleep(Duration::from_millis(2)).await;
                ticking.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..20 {
            let (ticks, asks) = (ticks.clone(), runtime.clone());
            let blocked = runtime.spawn("blocker", async move {
                // Woken by a timer it runs on the thread that waited for timers and sockets, and no other one looks after them.
                asks.sleep(Duration::from_millis(5)).await;
                let leave = asks.leave_to_block();
                let before = ticks.load(Ordering::Relaxed);
                thread::sleep(Duration::from_millis(60));
                (leave.is_some(), ticks.load(Ordering::Relaxed) - before)
            });
            let (has_leave, ticks) = blocked.await.expect("it ends");
            assert!(has_leave && ticks >= 5, "{ticks} ticks of 2 ms within 60 ms");
        }
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_gives_no_leave_to_block() {
        assert!(Runtime::tokio().leave_to_block().is_none());
    }
}
