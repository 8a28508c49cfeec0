//! The messages that are kept, and where each reader stands among them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use model::{Position, StoredEvent};

use crate::message;

/// What a reader gets.
pub(crate) enum Taken {
    /// Wait.
    Nothing,
    /// These.
    Messages(Vec<Arc<StoredEvent>>),
    /// What came next is gone; the oldest message still there has this position. Said once.
    Overrun { oldest: Position },
}

/// A bounded tail of all messages ever pushed, counted from 0, and the readers' places in that count.
pub(crate) struct Ring {
    messages_max: usize,
    bytes_max: usize,
    kept: VecDeque<Arc<StoredEvent>>,
    kept_bytes: usize,
    /// Count of the oldest message kept.
    first: u64,
    readers: BTreeMap<u64, Place>,
    readers_ever: u64,
}

struct Place {
    /// Count of the next message for this reader.
    next: u64,
    /// The position up to which it has, or does not want, messages; 0 for none.
    asked: u64,
}

impl Ring {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages_max: messages_max.max(1),
            bytes_max,
            kept: VecDeque::new(),
            kept_bytes: 0,
            first: 0,
            readers: BTreeMap::new(),
            readers_ever: 0,
        }
    }

    pub(crate) fn push(&mut self, message: Arc<StoredEvent>) {
        self.kept_bytes += message::length(&message);
        self.kept.push_back(message);
        while self.kept.len() > 1 && (self.kept.len() > self.messages_max || self.kept_bytes > self.bytes_max) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(message) = self.kept.pop_front() {
            self.kept_bytes -= message::length(&message);
            self.first += 1;
        }
    }

    /// Forgets every message and every reader.
    pub(crate) fn wipe(&mut self) {
        self.first += self.kept.len() as u64;
        self.kept.clear();
        self.kept_bytes = 0;
        self.readers.clear();
    }

    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// A new reader, which wants what comes after `after`.
    pub(crate) fn enter(&mut self, after: Option<Position>) -> u64 {
        let unwanted = self.kept.iter().position(|message| Some(message.position) > after);
        let next = self.first + unwanted.unwrap_or(self.kept.len()) as u64;
        let reader = self.readers_ever;
        self.readers_ever += 1;
        self.readers.insert(reader, Place { next, asked: Position::count(after) });
        reader
    }

    pub(crate) fn leave(&mut self, reader: u64) {
        self.readers.remove(&reader);
    }

    /// Whether anybody ever wanted to read.
    pub(crate) fn had_readers(&self) -> bool {
        self.readers_ever > 0
    }

    /// The least position up to which a reader has everything; `None` without readers.
    pub(crate) fn lowest_asked(&self) -> Option<u64> {
        self.readers.values().map(|place| place.asked).min()
    }

    /// How many messages the slowest reader that is not overrun has yet to take.
    pub(crate) fn pending(&self) -> u64 {
        let keeping_up = self.readers.values().filter(|place| place.next >= self.first);
        keeping_up.map(|place| self.end() - place.next).max().unwrap_or(0)
    }

    pub(crate) fn take(&mut self, reader: u64, messages_max: usize) -> Taken {
        let end = self.end();
        let Some(place) = self.readers.get_mut(&reader) else {
            return Taken::Nothing;
        };
        if place.next < self.first {
            place.next = self.first;
            if let Some(oldest) = self.kept.front() {
                return Taken::Overrun { oldest: oldest.position };
            }
        }
        let skipped = usize::try_from(place.next - self.first).unwrap_or(usize::MAX);
        let taken: Vec<_> = self.kept.iter().skip(skipped).take(messages_max).cloned().collect();
        let Some(last) = taken.last() else {
            debug_assert_eq!(place.next, end, "a reader with nothing to take is at the end");
            return Taken::Nothing;
        };
        place.next += taken.len() as u64;
        place.asked = last.position.get();
        Taken::Messages(taken)
    }
}
