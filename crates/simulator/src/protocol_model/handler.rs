//! The apply loop: two feeds, one cursor, one fenced commit.

use rand::RngExt;

use super::{
    Bug,
    log::{Event, Lineage},
    read_model::Checkpoint,
    world::World,
};

const BATCH_EVENTS_MAX: usize = 8;

/// What a handler holds in memory while it believes that the read model is its own. A crash loses all of it.
pub(super) struct Ownership {
    token: u64,
    checkpoint: Checkpoint,
    lineage: Lineage,
    /// How many messages of the queue it has looked at.
    received: usize,
    /// What the next commit applies. Anything may happen between reading these events and committing them.
    batch: Vec<Event>,
}

impl Ownership {
    /// The queue lost the messages from `index` on.
    pub(super) fn forget_messages_after(&mut self, index: usize) {
        self.received = self.received.min(index);
    }

    /// The position that may be applied next.
    fn expected(&self) -> u64 {
        self.batch.last().map_or(self.checkpoint.position, |event| event.position) + 1
    }
}

/// What a message is to a handler that expects a certain position.
enum Verdict {
    Apply,
    /// Applied before, or from a branch that the log has lost.
    Drop,
    /// Events before it are missing.
    Hole,
    /// It comes from an epoch that the handler has not heard of.
    UnknownEpoch,
}

impl World {
    pub(super) fn handler_turn(&mut self, index: usize) {
        if self.mishap(0.02) {
            return self.crash(index);
        }
        let Some(owner) = &self.handlers[index] else {
            return self.stand_by(index);
        };
        let ready = !owner.batch.is_empty();
        // The epoch is announced apart from both feeds: a log that was cut back and then rests shows in neither.
        if self.chance(0.1) && self.is_in_another_epoch(index) {
            self.step_down(index);
        } else if ready {
            self.commit(index);
        } else if self.polls_the_head() && (self.queue_is_quiet(index) || self.chance(0.3)) {
            self.poll(index);
        } else {
            self.receive(index);
        }
    }

    fn polls_the_head(&self) -> bool {
        self.profile.head_poll && !self.has(Bug::NoHeadPoll)
    }

    fn queue_is_quiet(&self, index: usize) -> bool {
        self.handlers[index].as_ref().is_some_and(|owner| self.queue.get(owner.received).is_none())
    }

    fn is_in_another_epoch(&self, index: usize) -> bool {
        let known = self.handlers[index].as_ref().map(|owner| owner.lineage.current());
        known != Some(self.log.lineage().current()) && !self.has(Bug::NoLineageCheck)
    }

    /// Takes over when the lease is free, and now and then when it is not: its holder was slow, and lives.
    fn stand_by(&mut self, index: usize) {
        if self.lease.is_none() || self.mishap(0.1) {
            self.take_over(index);
        }
    }

    fn take_over(&mut self, index: usize) {
        self.lease = Some(index);
        let token = self.read_model.take_over();
        if !self.log.holds(self.read_model.checkpoint) && !self.has(Bug::NoLineageCheck) {
            self.read_model.start_again();
            self.reached.rebuilds += 1;
        }
        let checkpoint = self.read_model.checkpoint;
        let received = match self.bug {
            Some(Bug::AcknowledgedBeforeCommit) => self.queue.acknowledged(),
            _ => self.queue.start_for(checkpoint.position),
        };
        let lineage = self.log.lineage().clone();
        self.handlers[index] = Some(Ownership { token, checkpoint, lineage, received, batch: Vec::new() });
    }

    fn step_down(&mut self, index: usize) {
        self.handlers[index] = None;
        if self.lease == Some(index) {
            self.lease = None;
        }
    }

    fn crash(&mut self, index: usize) {
        self.reached.crashes += 1;
        self.step_down(index);
    }

    fn judge(&self, message: &Event, owner: &Ownership) -> Verdict {
        if !self.has(Bug::NoLineageCheck) && !owner.lineage.includes(message) {
            // Epochs count upwards here. Real ones are unique ids, and "unknown" means: not in the list.
            let unknown = message.epoch > owner.lineage.current();
            return if unknown { Verdict::UnknownEpoch } else { Verdict::Drop };
        }
        match message.position {
            position if position < owner.expected() => Verdict::Drop,
            position if position == owner.expected() || self.has(Bug::NoHoleCheck) => Verdict::Apply,
            _ => Verdict::Hole,
        }
    }

    /// The first feed: collects what the queue brings next, up to a hole or a full batch.
    fn receive(&mut self, index: usize) {
        let Some(mut owner) = self.handlers[index].take() else { return };
        let mut end = Verdict::Apply;
        while let Some(message) = self.queue.get(owner.received).filter(|_| owner.batch.len() < BATCH_EVENTS_MAX) {
            end = self.judge(&message, &owner);
            match end {
                Verdict::Apply => owner.batch.push(message),
                Verdict::Drop => self.reached.dead_branch += u32::from(!owner.lineage.includes(&message)),
                // The message stays for later: by then the hole is filled, or the epoch known.
                Verdict::Hole | Verdict::UnknownEpoch => break,
            }
            owner.received += 1;
            if self.has(Bug::AcknowledgedBeforeCommit) {
                self.queue.acknowledge(owner.received);
            }
        }
        let (collected, missing) = (!owner.batch.is_empty(), owner.expected());
        self.handlers[index] = Some(owner);
        match end {
            Verdict::UnknownEpoch => self.step_down(index),
            // What was collected before the hole is committed first.
            Verdict::Hole if !collected => self.fill_hole(index, missing),
            _ => {}
        }
    }

    fn fill_hole(&mut self, index: usize, missing: u64) {
        self.reached.hole_reads += 1;
        if !self.profile.queue_fails {
            self.needless_hole = Some(missing);
        }
        self.read_log(index);
    }

    fn poll(&mut self, index: usize) {
        self.read_log(index);
        let found = self.handlers[index].as_ref().is_some_and(|owner| !owner.batch.is_empty());
        self.reached.polled += u32::from(found);
    }

    /// The second feed: the range after the checkpoint, from the log itself.
    fn read_log(&mut self, index: usize) {
        if self.is_in_another_epoch(index) {
            return self.step_down(index);
        }
        let count = self.random.random_range(1..=BATCH_EVENTS_MAX);
        if let Some(owner) = &mut self.handlers[index] {
            owner.batch = self.log.read(owner.checkpoint.position, count);
        }
    }

    /// Rows and checkpoint in one transaction, which also compares the token and the checkpoint they build on.
    fn commit(&mut self, index: usize) {
        let Some(owner) = &mut self.handlers[index] else { return };
        let batch = std::mem::take(&mut owner.batch);
        let Some(last) = batch.last() else { return };
        let is_ours = (owner.token, owner.checkpoint) == (self.read_model.owner, self.read_model.checkpoint);
        let checkpoint = Checkpoint::at(last);
        owner.checkpoint = checkpoint;
        if !is_ours && !self.has(Bug::NoFence) {
            self.reached.fenced += 1;
            return self.step_down(index);
        }
        if self.mishap(0.05) {
            return self.crash(index);
        }
        for event in &batch {
            self.read_model.rows.fold(event);
        }
        if self.has(Bug::CheckpointApartFromRows) && self.mishap(0.1) {
            return self.crash(index);
        }
        self.read_model.checkpoint = checkpoint;
        self.reached.applied += u32::try_from(batch.len()).unwrap_or(u32::MAX);
        if self.mishap(0.05) {
            self.crash(index);
        }
    }
}
