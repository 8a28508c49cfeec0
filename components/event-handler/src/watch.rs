//! What the mode of the process depends on, collected as it happens.

use std::{collections::VecDeque, time::Duration};

use message_queue::Delivery;
use model::Position;

use crate::mode::{Mode, Observed};

/// A queue that is further behind than this is not yet relied on.
const CLOSE: Duration = Duration::from_millis(200);

/// What the mode depends on.
pub(crate) struct Watch {
    pub(crate) mode: Mode,
    pub(crate) mode_since: Duration,
    pub(crate) heard: bool,
    pub(crate) silent_since: Duration,
    pub(crate) behind_since: Option<Duration>,
    pub(crate) batches_in_order: u32,
    pub(crate) queue_last: Option<Position>,
    /// The head of the log in the last moments, oldest first.
    pub(crate) heads: VecDeque<(Duration, Option<Position>)>,
    pub(crate) log_has_more: bool,
}

impl Watch {
    /// A watch over a queue that is relied on, and that may be silent for `grace` at first.
    pub(crate) fn new(now: Duration, grace: Duration) -> Self {
        Self {
            mode: Mode::Queue,
            mode_since: now,
            heard: false,
            silent_since: now + grace,
            behind_since: None,
            batches_in_order: 0,
            queue_last: None,
            heads: VecDeque::new(),
            log_has_more: false,
        }
    }

    pub(crate) fn hear(&mut self, now: Duration, last: Option<Position>, good: bool) {
        self.heard = true;
        self.silent_since = now;
        self.queue_last = last;
        self.batches_in_order = if good { self.batches_in_order + 1 } else { 0 };
    }

    /// The log is not the one that it was: where the queue and the head were says nothing of where they are.
    pub(crate) fn begin_anew(&mut self, now: Duration) {
        self.silent_since = self.silent_since.max(now);
        self.behind_since = None;
        self.batches_in_order = 0;
        self.queue_last = None;
        self.heads.clear();
    }

    /// Whether `deliveries` go on, without a hole, where the queue was.
    pub(crate) fn follows(&self, deliveries: &[Delivery]) -> bool {
        let mut last = self.queue_last;
        deliveries.iter().all(|delivery| {
            let position = delivery.event.position;
            let follows = last.is_none() || position <= Position::after(last);
            last = last.max(Some(position));
            follows
        })
    }

    pub(crate) fn remember(&mut self, at: Duration, head: Option<Position>) {
        if self.heads.back().is_none_or(|(last, _)| *last < at) {
            self.heads.push_back((at, head));
        }
        while self.heads.front().is_some_and(|(first, _)| at.saturating_sub(*first) > CLOSE) {
            self.heads.pop_front();
        }
    }

    pub(crate) fn enter(&mut self, mode: Mode, now: Duration) {
        self.mode = mode;
        self.mode_since = now;
        self.heard = false;
        self.batches_in_order = 0;
        self.log_has_more = false;
        if mode != Mode::Suspect {
            self.behind_since = None;
        }
    }

    pub(crate) fn observed(&self, now: Duration, head: Option<Position>) -> Observed {
        Observed {
            behind_for: self.behind_since.map(|since| now.saturating_sub(since)),
            heard: self.heard,
            silent_for: now.saturating_sub(self.silent_since),
            log_has_more: self.log_has_more,
            in_mode_for: now.saturating_sub(self.mode_since),
            batches_in_order: self.batches_in_order,
            queue_is_close: self.heads.front().is_none_or(|(_, head)| self.queue_last >= *head),
            queue_at_head: self.queue_last >= head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_queue_brought_of_a_former_log_says_nothing_of_this_one() {
        let (heard_at, forked_at) = (Duration::from_secs(5), Duration::from_secs(9));
        let mut watch = Watch::new(Duration::ZERO, Duration::ZERO);
        watch.hear(heard_at, Position::new(100), true);
        watch.remember(heard_at, Position::new(100));
        watch.behind_since = Some(heard_at);
        watch.begin_anew(forked_at);
        watch.remember(forked_at, Position::new(60));
        let seen = watch.observed(forked_at, Position::new(60));
        assert!(!seen.queue_at_head && !seen.queue_is_close, "it brought 100 of another log");
        assert_eq!((seen.batches_in_order, seen.behind_for, seen.silent_for), (0, None, Duration::ZERO));
    }
}
