//! The last events that this process committed, as a read of the log would return them.
//!
//! A hint like every cache: what is not here is read from the file. What is here cannot be wrong, since a committed event
//! never changes, whoever else writes.

use std::{collections::VecDeque, sync::Arc};

use model::{Position, StoredEvent};

use crate::ReadLimit;

pub(super) struct Recent {
    /// One after the other, without a hole.
    events: VecDeque<Arc<StoredEvent>>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

/// What an event takes in memory beside its payload, roughly.
const OVERHEAD_BYTES: usize = 512;

fn bytes_of(event: &StoredEvent) -> usize {
    event.payload.len() + OVERHEAD_BYTES
}

impl Recent {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, events_max, bytes_max }
    }

    /// Adds events that were just committed, in order.
    pub(super) fn push(&mut self, events: Vec<Arc<StoredEvent>>) {
        let follows =
            |first: &Arc<StoredEvent>| self.events.back().is_none_or(|last| first.position == last.position.next());
        if !events.first().is_none_or(follows) {
            // Another process wrote in between.
            self.events.clear();
            self.bytes = 0;
        }
        self.bytes += events.iter().map(|event| bytes_of(event)).sum::<usize>();
        self.events.extend(events);
        while self.events.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= bytes_of(&oldest);
        }
    }

    /// At least one of the events that follow on `after`, where that one is here: what there is beyond may be in the file.
    pub(super) fn after(&self, after: Option<Position>, limit: ReadLimit) -> Option<Vec<Arc<StoredEvent>>> {
        let first = self.events.front()?.position.get();
        let skipped = usize::try_from(Position::after(after).get().checked_sub(first)?).ok()?;
        if skipped >= self.events.len() {
            return None;
        }
        let count = (self.events.len() - skipped).min(limit.events_max.max(1));
        let mut events = Vec::with_capacity(count);
        let mut bytes = 0;
        for event in self.events.range(skipped..skipped + count) {
            bytes += event.payload.len();
            events.push(event.clone());
            if bytes >= limit.bytes_max {
                break;
            }
        }
        Some(events)
    }
}
