//! The authority: events at dense positions, and the lineage of its epochs.

use super::read_model::{Checkpoint, Rows};

/// An event as the log stores it and the queue carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) epoch: u32,
    pub(super) position: u64,
    /// Never given twice, not even after the log was cut back.
    pub(super) id: u64,
}

/// Which epoch owns which positions: each from its first one up to the next epoch's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    epochs: Vec<(u32, u64)>,
}

impl Lineage {
    fn new() -> Self {
        Self { epochs: vec![(0, 1)] }
    }

    /// The epoch in which the log goes on.
    pub(super) fn current(&self) -> u32 {
        self.epochs.last().map_or(0, |&(epoch, _)| epoch)
    }

    /// Whether this is the branch that the log kept.
    pub(super) fn includes(&self, event: &Event) -> bool {
        let owner = self.epochs.iter().rev().find(|&&(_, first)| first <= event.position);
        owner.is_some_and(|&(epoch, _)| epoch == event.epoch)
    }

    fn begin(&mut self, first: u64) {
        let next = self.current() + 1;
        // An epoch that would begin at or after this one has lost all its events.
        self.epochs.retain(|&(epoch, other)| epoch == 0 || other < first);
        self.epochs.push((next, first));
    }
}

struct Slot {
    event: Event,
    /// False only under [`Bug::SequenceVisibility`](super::Bug): the position is taken, the commit is still to come.
    committed: bool,
}

pub(super) struct Log {
    slots: Vec<Slot>,
    lineage: Lineage,
    ids: u64,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), lineage: Lineage::new(), ids: 0 }
    }

    pub(super) fn head(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    pub(super) fn append(&mut self, committed: bool) {
        self.ids += 1;
        let event = Event { epoch: self.lineage.current(), position: self.head() + 1, id: self.ids };
        self.slots.push(Slot { event, committed });
    }

    /// The appends that hold a position and have not committed.
    pub(super) fn late_count(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.committed).count()
    }

    /// Lets one of the late appends commit.
    pub(super) fn commit_late(&mut self, index: usize) {
        if let Some(slot) = self.slots.iter_mut().filter(|slot| !slot.committed).nth(index) {
            slot.committed = true;
        }
    }

    /// What a reader sees after `position`. It takes what is there for all there is, as it may when positions are dense.
    pub(super) fn read(&self, position: u64, count_max: usize) -> Vec<Event> {
        let after = self.slots.iter().skip(usize::try_from(position).unwrap_or(usize::MAX));
        after.filter(|slot| slot.committed).take(count_max).map(|slot| slot.event).collect()
    }

    /// A failover or a restore: the last events are gone, and the log goes on in a new epoch.
    pub(super) fn cut_back(&mut self, count: usize) {
        self.slots.truncate(self.slots.len().saturating_sub(count));
        self.lineage.begin(self.head() + 1);
    }

    /// Whether the event at the checkpoint is (still) in the log.
    pub(super) fn holds(&self, checkpoint: Checkpoint) -> bool {
        match checkpoint.position.checked_sub(1) {
            None => true,
            Some(index) => {
                let slot = self.slots.get(usize::try_from(index).unwrap_or(usize::MAX));
                slot.is_some_and(|slot| slot.event.id == checkpoint.event_id)
            }
        }
    }

    /// The truth that the read model is compared with.
    pub(super) fn fold_up_to(&self, position: u64) -> Rows {
        let mut rows = Rows::default();
        for slot in self.slots.iter().take(usize::try_from(position).unwrap_or(usize::MAX)) {
            if slot.committed {
                rows.fold(&slot.event);
            }
        }
        rows
    }
}
