//! The latest events of the process, one after the other without holes, for all its projections.

use std::collections::VecDeque;

use model::Position;
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};

use crate::entry::Entry;

/// What a projection gets for its checkpoint.
pub(crate) enum Take {
    /// Wait.
    Nothing,
    /// What follows on its checkpoint.
    Entries(Vec<Entry>),
    /// What follows on its checkpoint is no longer here: read the log.
    Behind,
    /// The log may be another one than before: compare the checkpoint with it, and ask again with this number.
    Review(u64),
}

/// A bounded tail of the log. The feed alone adds to it; any number of projections read.
pub(crate) struct Inbox {
    ring: Mutex<Ring>,
    changed: Notify,
}

struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    end: Option<Position>,
    reviews: u64,
    entries_max: usize,
    bytes_max: usize,
}

impl Inbox {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Self {
        let ring = Ring { entries: VecDeque::new(), bytes: 0, end: None, reviews: 0, entries_max, bytes_max };
        Self { ring: Mutex::new(ring), changed: Notify::new() }
    }

    /// Completes at the next change after it was enabled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Begins anew after `end`. Projections that stand elsewhere find their way by [`Take::Behind`] or by waiting.
    pub(crate) fn start_after(&self, end: Option<Position>) {
        let mut ring = self.ring.lock();
        ring.entries.clear();
        ring.bytes = 0;
        ring.end = end;
    }

    /// Makes every projection compare its checkpoint with the log.
    pub(crate) fn review(&self) {
        self.ring.lock().reviews += 1;
        self.changed.notify_waiters();
    }

    /// The last position here.
    pub(crate) fn end(&self) -> Option<Position> {
        self.ring.lock().end
    }

    /// Adds events that follow on the last one without a hole.
    pub(crate) fn push(&self, entries: Vec<Entry>) {
        let mut ring = self.ring.lock();
        for entry in entries {
            debug_assert_eq!(entry.position, Position::after(ring.end), "the feed adds without holes");
            ring.end = Some(entry.position);
            ring.bytes += entry.bytes;
            ring.entries.push_back(entry);
        }
        ring.trim();
        drop(ring);
        self.changed.notify_waiters();
    }

    /// What a projection with checkpoint `after` has to do next. `reviewed` is the latest [`Take::Review`] it dealt with.
    pub(crate) fn take(&self, after: Option<Position>, entries_max: usize, reviewed: u64) -> Take {
        let ring = self.ring.lock();
        if ring.reviews != reviewed {
            return Take::Review(ring.reviews);
        }
        let (checkpoint, end) = (Position::count(after), Position::count(ring.end));
        let before_first = end - ring.entries.len() as u64;
        if checkpoint >= end {
            return Take::Nothing;
        }
        match checkpoint.checked_sub(before_first).map(usize::try_from) {
            Some(Ok(skipped)) => Take::Entries(ring.entries.iter().skip(skipped).take(entries_max).cloned().collect()),
            _ => Take::Behind,
        }
    }
}

impl Ring {
    fn trim(&mut self) {
        while self.entries.len() > self.entries_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}
