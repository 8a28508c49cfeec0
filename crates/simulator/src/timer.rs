//! Virtual time: a clock that stands still while anybody is ready, and jumps when nobody is.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::executor::{Executor, Life};

/// Beyond this a sleep is taken for "never": jumping there would leave the range of the wall clock.
const FAR_FUTURE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[derive(Default)]
pub(crate) struct Timers {
    now: Duration,
    waiting: BTreeMap<(Duration, u64), Waker>,
    timer_ids: u64,
}

impl Timers {
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    fn reserve(&mut self) -> u64 {
        self.timer_ids += 1;
        self.timer_ids
    }

    /// Jumps to the next deadline and returns everybody who waits for it; the schedule decides on their order.
    pub(crate) fn jump(&mut self) -> Option<Vec<Waker>> {
        let &(deadline, _) = self.waiting.keys().next()?;
        self.now = self.now.max(deadline);
        Some(self.waiting.extract_if(..=(deadline, u64::MAX), |_, _| true).map(|(_, waker)| waker).collect())
    }
}

pub(crate) struct Sleep {
    executor: Arc<Executor>,
    /// A dead process sleeps for ever.
    life: Arc<Life>,
    /// `None` means never.
    deadline: Option<Duration>,
    timer: Option<u64>,
    polled: bool,
}

impl Sleep {
    pub(crate) fn new(executor: Arc<Executor>, life: Arc<Life>, span: Duration) -> Self {
        let deadline = executor.now().checked_add(span).filter(|deadline| *deadline < FAR_FUTURE);
        Self { executor, life, deadline, timer: None, polled: false }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline.filter(|_| !self.life.has_ended()) else {
            return Poll::Pending;
        };
        let executor = Arc::clone(&self.executor);
        let waker = context.waker().clone();
        let first_poll = !std::mem::replace(&mut self.polled, true);
        if executor.now() < deadline {
            let timer = self.timer.unwrap_or_else(|| executor.with_timers(Timers::reserve));
            self.timer = Some(timer);
            drop(executor.with_timers(|timers| timers.waiting.insert((deadline, timer), waker)));
            return Poll::Pending;
        }
        if first_poll {
            // Even an empty span yields once: another task may come in between.
            waker.wake();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(deadline), Some(timer)) = (self.deadline, self.timer) {
            let waker = self.executor.with_timers(|timers| timers.waiting.remove(&(deadline, timer)));
            drop(waker);
        }
    }
}
