use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8,
            Ordering::{AcqRel, Acquire, Release},
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

/// Whether there is anything new for one part of a task, which is looked at whenever another part has something.
///
/// An answer that is waited for lies below a gateway, its timer and its service; looking for it in vain goes through all.
#[derive(Clone)]
pub(super) struct News {
    signal: Arc<NewsSignal>,
    waker: Waker,
}

struct NewsSignal {
    is_there: AtomicBool,
    task: AtomicWaker,
}

impl News {
    pub(super) fn new() -> Self {
        let signal = Arc::new(NewsSignal { is_there: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { waker: signal.clone().into(), signal }
    }

    /// The same for another wait. Only one at a time is told apart: a connection has one answer under way.
    pub(super) fn anew(&self) -> Self {
        self.signal.is_there.store(true, Release);
        self.clone()
    }

    /// Calls `look` if it is the first time, or was woken since it was called last.
    pub(super) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        look: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.signal.task.register(context.waker());
        if !self.signal.is_there.swap(false, AcqRel) {
            return Poll::Pending;
        }
        look(&mut Context::from_waker(&self.waker))
    }
}

impl Wake for NewsSignal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_there.store(true, Release);
        self.task.wake();
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

    use super::{Awake, LOOKS_MAX, News};

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
        assert_eq!(
            looks(|look, waker| if look < 3 {
                waker.wake_by_ref()
            }),
            (3, 0)
        );
    }

    #[test]
    fn who_always_wakes_itself_lets_others_go_first() {
        assert_eq!(looks(|_, waker| waker.wake_by_ref()), (LOOKS_MAX, 1));
    }

    #[test]
    fn an_answer_is_looked_for_at_first_and_when_there_is_news() {
        let woken = Arc::new(Counted::default());
        let task = Waker::from(woken.clone());
        let (connection, mut looks, mut kept) = (News::new(), 0, None);
        let mut news = connection.anew();
        let mut poll = |news: &mut News, kept: &mut Option<Waker>| {
            let _ = news.poll(&mut Context::from_waker(&task), |context| {
                looks += 1;
                *kept = Some(context.waker().clone());
                Poll::<()>::Pending
            });
            looks
        };
        assert_eq!([poll(&mut news, &mut kept), poll(&mut news, &mut kept)], [1, 1]);
        kept.as_ref().expect("a waker").wake_by_ref();
        assert_eq!(woken.0.load(Relaxed), 1);
        assert_eq!([poll(&mut news, &mut kept), poll(&mut news, &mut kept)], [2, 2]);
        assert_eq!(poll(&mut connection.anew(), &mut kept), 3, "another answer is looked for, too");
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
