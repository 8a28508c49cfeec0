//! The queue: a stream of messages that handlers read with a cursor of their own.

use std::collections::BTreeSet;

use super::log::Event;

/// What became of a message on its way into the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It never arrived.
    Lost,
    /// It arrived, and its acknowledgement did not come back.
    Unheard,
    Acknowledged,
}

/// By what the queue recognises a repeated message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MessageId {
    Whole(Event),
    PositionAlone(u64),
}

#[derive(Default)]
pub(super) struct Queue {
    messages: Vec<Event>,
    seen: BTreeSet<MessageId>,
    /// Used under [`Bug::AcknowledgedBeforeCommit`](super::Bug) only: what the queue was told not to deliver again. The
    /// protocol has no such thing, its checkpoint is the only acknowledgement.
    acknowledged: usize,
}

impl Queue {
    pub(super) fn publish(&mut self, event: Event, id: MessageId) {
        if self.seen.insert(id) {
            self.messages.push(event);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<Event> {
        self.messages.get(index).copied()
    }

    /// Where to begin reading for a checkpoint. A hint: too early costs time, and later than this nothing needed lies.
    pub(super) fn start_for(&self, checkpoint: u64) -> usize {
        self.messages.iter().position(|event| event.position > checkpoint).unwrap_or(self.messages.len())
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    pub(super) fn acknowledge(&mut self, index: usize) {
        self.acknowledged = self.acknowledged.max(index);
    }

    pub(super) fn repeat(&mut self, index: usize) {
        self.messages.extend(self.get(index));
    }

    pub(super) fn swap(&mut self, one: usize, other: usize) {
        self.messages.swap(one, other);
    }

    /// Loses what came last, acknowledged or not.
    pub(super) fn lose_after(&mut self, index: usize) {
        self.messages.truncate(index);
        self.acknowledged = self.acknowledged.min(index);
    }

    /// Somebody deletes the queue and creates it again, empty.
    pub(super) fn delete(&mut self) {
        *self = Self::default();
    }
}
