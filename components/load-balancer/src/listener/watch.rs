use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

use super::Limits;
use crate::telemetry::Policy;

/// Milliseconds since the listener began, moved on by each sweep: reading it costs nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, milliseconds: u64) {
        self.0.store(milliseconds, Relaxed);
    }
}

/// Where the exchange of one request and its answer stands, as seen from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exchange {
    /// The last answer is flushed; the next head may pass.
    Quiet,
    /// A head was given to hyper, which has not yet called the service: what it writes now is its own refusal.
    Released,
    /// The service has the request.
    Called,
    /// The answer has begun.
    Answering,
    /// The answer's last byte is with hyper, not yet all flushed.
    Answered,
}

/// What one connection's parts and the sweep tell each other. Only the connection's own task decides by it: the sweep does
/// no more than wake that task when the time comes, so that nothing is cut in the middle of a step.
pub(super) struct Watch {
    clock: Clock,
    limits: Arc<Limits>,
    task: AtomicWaker,
    /// When the task wants to be woken, at the latest.
    wake_at: AtomicU64,
    exchange: AtomicU8,
    /// Since when it stands there.
    since: AtomicU64,
    /// When the first byte of an incomplete head came.
    head_since: Instant,
    /// When hyper last asked for a body's bytes that had not come.
    body_wanted: Instant,
    body_bytes: AtomicU64,
    write_stalled: Instant,
    body_too_large: AtomicBool,
    request_overdue: AtomicBool,
    closing: AtomicU8,
}

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const ABANDONED: u8 = 2;

/// A moment of the clock, or none.
struct Instant(AtomicU64);

impl Instant {
    const NONE: u64 = u64::MAX;

    const fn none() -> Self {
        Self(AtomicU64::new(Self::NONE))
    }

    fn get(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|moment| *moment != Self::NONE)
    }

    /// Sets it unless it is set.
    fn begin(&self, now: u64) {
        if self.get().is_none() {
            self.0.store(now, Relaxed);
        }
    }

    fn clear(&self) {
        if self.get().is_some() {
            self.0.store(Self::NONE, Relaxed);
        }
    }
}

/// How a look at a connection came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    GoOn,
    /// To be closed for having been idle, or left behind by a drain.
    Close,
    /// To be closed by a limit.
    Cut(Policy),
}

fn milliseconds(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2)
}

impl Watch {
    pub(super) fn new(clock: Clock, limits: Arc<Limits>) -> Self {
        let now = clock.now();
        Self {
            wake_at: AtomicU64::new(now + milliseconds(limits.idle_time_max)),
            clock,
            limits,
            task: AtomicWaker::new(),
            exchange: AtomicU8::new(Exchange::Quiet as u8),
            since: AtomicU64::new(now),
            head_since: Instant::none(),
            body_wanted: Instant::none(),
            body_bytes: AtomicU64::new(0),
            write_stalled: Instant::none(),
            body_too_large: AtomicBool::new(false),
            request_overdue: AtomicBool::new(false),
            closing: AtomicU8::new(OPEN),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn is(&self, exchange: Exchange) -> bool {
        self.exchange.load(Relaxed) == exchange as u8
    }

    pub(super) fn enter(&self, exchange: Exchange) {
        self.exchange.store(exchange as u8, Relaxed);
        self.since.store(self.clock.now(), Relaxed);
    }

    /// A head is complete; its body begins.
    pub(super) fn release(&self) {
        self.head_since.clear();
        self.body_wanted.clear();
        self.body_bytes.store(0, Relaxed);
        self.enter(Exchange::Released);
    }

    /// The service has the request.
    pub(super) fn call(&self) {
        self.body_too_large.store(false, Relaxed);
        self.request_overdue.store(false, Relaxed);
        self.enter(Exchange::Called);
        self.wake_within(self.limits.request_time_max);
    }

    /// All of the answer is out. Says whether it was not before.
    pub(super) fn flush(&self) -> bool {
        let was_answered = self.is(Exchange::Answered);
        if was_answered {
            self.enter(Exchange::Quiet);
            self.wake_within(self.limits.idle_time_max);
        }
        was_answered
    }

    pub(super) fn head_began(&self) {
        self.head_since.begin(self.clock.now());
        self.wake_within(self.limits.head_time_max);
    }

    pub(super) fn body_came(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Relaxed);
        self.body_wanted.clear();
    }

    pub(super) fn body_is_wanted(&self) {
        self.body_wanted.begin(self.clock.now());
        self.wake_within(self.limits.body_grace);
    }

    pub(super) fn write_stalls(&self) {
        self.write_stalled.begin(self.clock.now());
        self.wake_within(self.limits.write_stall_max);
    }

    pub(super) fn write_goes_on(&self) {
        self.write_stalled.clear();
    }

    pub(super) fn exceed_body(&self) {
        self.body_too_large.store(true, Relaxed);
    }

    pub(super) fn is_body_too_large(&self) -> bool {
        self.body_too_large.load(Relaxed)
    }

    pub(super) fn is_request_overdue(&self) -> bool {
        self.request_overdue.load(Relaxed)
    }

    /// Asks the connection to close after the answer it owes, if any.
    pub(super) fn close(&self) {
        self.closing.store(CLOSING, Relaxed);
        self.task.wake();
    }

    /// Asks the connection to close now.
    pub(super) fn abandon(&self) {
        self.closing.store(ABANDONED, Relaxed);
        self.task.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed) != OPEN
    }

    pub(super) fn belongs_to(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Wakes the task if its time has come. Called by the sweep.
    pub(super) fn sweep(&self, now: u64) {
        if self.wake_at.load(Relaxed) <= now {
            self.task.wake();
        }
    }

    fn wake_within(&self, span: std::time::Duration) {
        let at = self.clock.now() + milliseconds(span);
        // A moment too early costs one look; it is never put off by a request, so a wake-up comes at least once an idle
        // time, and storing is rare.
        if at < self.wake_at.load(Relaxed) {
            self.wake_at.store(at, Relaxed);
        }
    }

    /// What the task does when woken: looks at every limit, and says when to look next. Between two wake-ups it costs a
    /// comparison.
    pub(super) fn look(&self) -> Look {
        if self.closing.load(Relaxed) == ABANDONED {
            return Look::Close;
        }
        let now = self.clock.now();
        if now < self.wake_at.load(Relaxed) {
            return Look::GoOn;
        }
        let mut next = now + milliseconds(self.limits.idle_time_max);
        let mut is_over = |began: Option<u64>, span: std::time::Duration| {
            began.is_some_and(|began| {
                let end = began + milliseconds(span);
                next = next.min(end.max(now + 1));
                end <= now
            })
        };
        let limits = &self.limits;
        if is_over(self.head_since.get(), limits.head_time_max) {
            return Look::Cut(Policy::HeadTime);
        }
        if is_over(self.write_stalled.get(), limits.write_stall_max) {
            return Look::Cut(Policy::WriteStall);
        }
        let since = Some(self.since.load(Relaxed));
        let idle = self.is(Exchange::Quiet) && self.head_since.get().is_none();
        if is_over(since.filter(|_| idle), limits.idle_time_max) {
            return Look::Close;
        }
        if is_over(since.filter(|_| self.is(Exchange::Called)), limits.request_time_max) {
            self.request_overdue.store(true, Relaxed);
        }
        let body_since = self.body_wanted.get().and(since);
        if is_over(body_since, limits.body_grace) && self.is_body_slow(now) {
            return Look::Cut(Policy::BodyRate);
        }
        self.wake_at.store(next, Relaxed);
        Look::GoOn
    }

    /// Whether less has come than the rate demands of the time since the head, the grace not counted.
    fn is_body_slow(&self, now: u64) -> bool {
        let demanded_for = now.saturating_sub(self.since.load(Relaxed) + milliseconds(self.limits.body_grace));
        self.body_bytes.load(Relaxed) < self.limits.body_rate_min.saturating_mul(demanded_for) / 1000
    }
}
