//! The last events that this process committed, as a read of the log would return them.
//!
//! A hint like every cache: what is not here is read from the log. What is here cannot be wrong, since a committed event
//! never changes, whoever else writes.

use std::{collections::VecDeque, sync::Arc};

use jiff::{Error, Timestamp};
use model::{EpochId, EventId, Hash, Metadata, Position, StoredEvent, StreamVersion};

use crate::{Append, ReadLimit};

/// What is kept in memory of the log's end: a few times what the relay takes at once.
const EVENTS_MAX: usize = 2048;
const BYTES_MAX: usize = 8 * 1024 * 1024;

pub(crate) struct Recent {
    /// One after the other, without a hole.
    events: VecDeque<Arc<StoredEvent>>,
    bytes: usize,
}

/// What an event takes in memory beside its payload, roughly.
const OVERHEAD_BYTES: usize = 512;

fn bytes_of(event: &StoredEvent) -> usize {
    event.payload.len() + OVERHEAD_BYTES
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { events: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }

    /// Adds events that were just committed, in order.
    pub(crate) fn push(&mut self, events: Vec<Arc<StoredEvent>>) {
        let follows =
            |first: &Arc<StoredEvent>| self.events.back().is_none_or(|last| first.position == last.position.next());
        if !events.first().is_none_or(follows) {
            // Another process wrote in between.
            self.clear();
        }
        self.bytes += events.iter().map(|event| bytes_of(event)).sum::<usize>();
        self.events.extend(events);
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= bytes_of(&oldest);
        }
    }

    /// At least one of the events that follow on `after`, where that one is here: what there is beyond may be in the file.
    pub(crate) fn after(&self, after: Option<Position>, limit: ReadLimit) -> Option<Vec<Arc<StoredEvent>>> {
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

/// Where the log has an event, and what that comes to.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) version: StreamVersion,
    /// In microseconds since 1970.
    pub(crate) recorded_at: i64,
    pub(crate) epoch: EpochId,
    pub(crate) hash: Hash,
}

/// The `index`-th event of a command as a read of the log returns it: times to the microsecond.
///
/// # Errors
/// Where a time is out of range.
pub(crate) fn stored(append: &Append, index: usize, place: Place) -> Result<StoredEvent, Error> {
    let event = &append.events()[index];
    let Place { position, version, recorded_at, epoch, hash } = place;
    let time = Timestamp::from_microsecond(append.metadata.time.as_microsecond())?;
    Ok(StoredEvent {
        position,
        epoch,
        event_id: EventId::derived(append.command_id, index as u32),
        stream: append.stream.clone(),
        version,
        event_type: event.event_type.clone(),
        command_id: append.command_id,
        command_events: append.events().len() as u32,
        payload: event.payload.clone(),
        metadata: Metadata { time, ..append.metadata.clone() },
        recorded_at: Timestamp::from_microsecond(recorded_at)?,
        hash,
    })
}
