//! Counts the commands under way: past the limit no more come in, and a drain waits for the last one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::UnavailableReason;

pub(crate) struct Gate {
    under_way: AtomicUsize,
    limit: usize,
    draining: AtomicBool,
    idle: Notify,
}

/// The right of one command to be under way. It ends when dropped.
pub(crate) struct Permit(Arc<Gate>);

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { under_way: AtomicUsize::new(0), limit, draining: AtomicBool::new(false), idle: Notify::new() })
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Result<Permit, UnavailableReason> {
        // Counted before the look at `draining`: a drain that sees a count of zero sees everyone who got in.
        let before = self.under_way.fetch_add(1, Ordering::SeqCst);
        let permit = Permit(Arc::clone(self));
        if self.draining.load(Ordering::SeqCst) {
            return Err(UnavailableReason::Draining);
        }
        if before >= self.limit { Err(UnavailableReason::Overloaded) } else { Ok(permit) }
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    pub(crate) async fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.under_way() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.draining.load(Ordering::SeqCst) {
            self.0.idle.notify_waiters();
        }
    }
}
