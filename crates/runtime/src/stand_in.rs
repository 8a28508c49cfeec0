//! Somebody to look after tasks and sockets while a task blocks its thread for longer than it meant to.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "part of the engine of production, where the operating system's threads are used"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

/// How often those who block are looked at.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without anybody blocking after which the watch goes to sleep.
const QUIET_TICKS_MAX: u32 = 20;

/// Leave to block within a task, until it is dropped.
#[derive(Debug)]
#[must_use = "the leave ends when this is dropped"]
pub struct Leave(Arc<Blocked>);

/// A thread that watches those who block.
///
/// A worker of tokio's that blocks keeps the sockets and timers it was waiting for to itself, and the other workers sleep on.
/// Waking one of them each time beforehand would cost more than the block is to last: a wake-up between two processors, and
/// the next request then arrives on the other one, whose caches know nothing of it. So they are let be, and a worker is woken
/// only when a block lasts; it finds nothing to do, and waits for the sockets in the place of the one that blocks.
pub(crate) struct StandIn {
    blocked: Arc<Blocked>,
    thread: thread::Thread,
}

#[derive(Debug, Default)]
struct Blocked {
    begun: AtomicU64,
    ended: AtomicU64,
    is_watched: AtomicBool,
    is_over: AtomicBool,
}

impl StandIn {
    pub(crate) fn start(tokio: Handle) -> Self {
        let blocked = Arc::new(Blocked::default());
        let watched = blocked.clone();
        let watch = move || {
            while !watched.is_over.load(SeqCst) {
                if watched.is_watched.load(SeqCst) {
                    watched.watch(&tokio);
                } else {
                    thread::park();
                }
            }
        };
        let watch = thread::Builder::new().name("stand-in".to_owned()).spawn(watch).expect("the system gives a thread");
        Self { blocked, thread: watch.thread().clone() }
    }

    pub(crate) fn leave(&self) -> Leave {
        self.blocked.begun.fetch_add(1, SeqCst);
        if !self.blocked.is_watched.swap(true, SeqCst) {
            self.thread.unpark();
        }
        Leave(self.blocked.clone())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.blocked.is_over.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

impl Blocked {
    /// Looks on until nobody has blocked for a while.
    fn watch(&self, tokio: &Handle) {
        let (mut before, mut called_at, mut quiet) = ((0, 0), 0, 0);
        while quiet < QUIET_TICKS_MAX && !self.is_over.load(SeqCst) {
            thread::park_timeout(TICK);
            let now = (self.begun.load(SeqCst), self.ended.load(SeqCst));
            let (begun, ended) = now;
            if begun > ended && now == before && called_at != begun {
                called_at = begun;
                // From outside the runtime: that wakes a worker that sleeps.
                tokio.spawn(std::future::ready(()));
            }
            quiet = if begun == before.0 && begun == ended { quiet + 1 } else { 0 };
            before = now;
        }
        self.is_watched.store(false, SeqCst);
        // Whoever began just now found the watch awake.
        if self.begun.load(SeqCst) != before.0 {
            self.is_watched.store(true, SeqCst);
        }
    }
}
