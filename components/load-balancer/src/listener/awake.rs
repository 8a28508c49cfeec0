use std::{
    sync::{
        Arc,
        atomic::{
        AtomicU8,
        Ordering::{AcqRel, Acquire},
    },
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Looks at a task again at once, when it was woken while it was looked at.
///
/// hyper hands a request's body from one half of a connection to the other, and both are one task, which so wakes itself with
/// every body. Its scheduler would look at it again after all others, when its caches are cold, and call another thread for
/// what looks like more work.
pub(super) struct Awake {
    signal: Arc<Signal>,
    /// Its waker, kept so that those who compare wakers find the same one each time.
    waker: Waker,
}

#[derive(Default)]
struct Signal {
    state: AtomicU8,
    task: AtomicWaker,
}

const ASLEEP: u8 = 0;
const LOOKED_AT: u8 = 1;
const WOKEN: u8 = 2;

/// Looks in a row before others get their turn.
const LOOKS_MAX: u32 = 8;

impl Awake {
    pub(super) fn new() -> Self {
        let signal = Arc::new(Signal::default());
        Self { waker: signal.clone().into(), signal }
    }

    /// Calls `look` until it is ready, or sleeps.
    pub(super) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut look: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.signal.task.register(context.waker());
        for _ in 0..LOOKS_MAX {
            // Whoever woke before this is heard by the look that follows.
            self.signal.state.swap(LOOKED_AT, AcqRel);
            if let Poll::Ready(output) = look(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(output);
            }
            if self.signal.state.compare_exchange(LOOKED_AT, ASLEEP, AcqRel, Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        self.signal.state.swap(ASLEEP, AcqRel);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, AcqRel) == ASLEEP {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        task::{Context, Poll, Wake, Waker},
    };

    use super::{Awake, LOOKS_MAX};

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// How often `look` was called, and the task woken, until it was asleep.
    fn looks(mut look: impl FnMut(u32, &Waker)) -> (u32, u32) {
        let woken = Arc::new(Counted::default());
        let task = Waker::from(woken.clone());
        let mut looks = 0;
        let polled = Awake::new().poll(&mut Context::from_waker(&task), |context| {
            looks += 1;
            look(looks, context.waker());
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        (looks, woken.0.load(Relaxed))
    }

    #[test]
    fn who_wakes_itself_is_looked_at_again_without_its_scheduler() {
        assert_eq!(looks(|_, _| {}), (1, 0));
        assert_eq!(looks(|look, waker| if look < 3 { waker.wake_by_ref() }), (3, 0));
    }

    #[test]
    fn who_always_wakes_itself_lets_others_go_first() {
        assert_eq!(looks(|_, waker| waker.wake_by_ref()), (LOOKS_MAX, 1));
    }

    #[test]
    fn who_sleeps_is_woken_once_by_many() {
        let woken = Arc::new(Counted::default());
        let mut awake = Awake::new();
        let mut kept = None;
        let task = Waker::from(woken.clone());
        for round in 1..=3 {
            let polled = awake.poll(&mut Context::from_waker(&task), |context| {
                kept = Some(context.waker().clone());
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
            for _ in 0..5 {
                kept.as_ref().expect("a waker").wake_by_ref();
            }
            assert_eq!(woken.0.load(Relaxed), round);
        }
    }
}
