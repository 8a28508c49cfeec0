//! Everything together: whose turn it is, what goes wrong, and what is compared.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Bug, Profile, Reached, Violation,
    handler::Ownership,
    log::Log,
    queue::{MessageId, Queue, Sent},
    read_model::ReadModel,
};

pub(super) struct World {
    pub(super) random: StdRng,
    pub(super) profile: Profile,
    pub(super) bug: Option<Bug>,
    pub(super) chaos: bool,
    pub(super) log: Log,
    pub(super) queue: Queue,
    pub(super) read_model: ReadModel,
    /// Which handler holds the lease. It saves work and protects nothing: that is what the fence is for.
    pub(super) lease: Option<usize>,
    /// `None` while a handler is down or knows that it owns nothing.
    pub(super) handlers: [Option<Ownership>; 2],
    pub(super) reached: Reached,
    /// Set by a hole in a profile where none may appear.
    pub(super) needless_hole: Option<u64>,
    relay_cursor: u64,
}

impl World {
    pub(super) fn new(seed: u64, profile: Profile, bug: Option<Bug>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            profile,
            bug,
            chaos: true,
            log: Log::new(),
            queue: Queue::default(),
            read_model: ReadModel::default(),
            lease: None,
            handlers: [None, None],
            reached: Reached::default(),
            needless_hole: None,
            relay_cursor: 0,
        }
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    /// A chance that is gone once the chaos is over.
    pub(super) fn mishap(&mut self, probability: f64) -> bool {
        self.chaos && self.chance(probability)
    }

    pub(super) fn step(&mut self) {
        if self.mishap(0.3) {
            self.outside_turn();
        } else if self.chance(0.4) {
            self.relay_turn();
        } else {
            let index = self.random.random_range(0..self.handlers.len());
            self.handler_turn(index);
        }
    }

    /// What the protocol does not decide: commands arrive, the queue misbehaves, the log is cut back.
    fn outside_turn(&mut self) {
        let messages = self.queue.len();
        match self.random.random_range(0..100) {
            0..=1 => self.cut_log_back(),
            2..=7 if messages > 0 => {
                let index = self.random.random_range(0..messages);
                self.queue.repeat(index);
            }
            8..=13 if messages > 1 && self.profile.queue_fails => {
                let index = self.random.random_range(1..messages);
                self.queue.swap(index - 1, messages - 1);
            }
            14..=16 if messages > 0 && self.profile.queue_fails => {
                let index = self.random.random_range(0..messages);
                self.queue.lose_after(index);
                self.handlers.iter_mut().flatten().for_each(|owner| owner.forget_messages_after(index));
            }
            17..=30 if self.log.late_count() > 0 => {
                let index = self.random.random_range(0..self.log.late_count());
                self.log.commit_late(index);
            }
            _ => {
                let late = self.has(Bug::SequenceVisibility) && self.chance(0.3);
                self.log.append(!late);
                self.reached.appended += 1;
            }
        }
    }

    fn cut_log_back(&mut self) {
        // A late commit whose position is gone would have nowhere to go.
        if self.log.head() > 3 && self.log.late_count() == 0 {
            let count = self.random.random_range(1..=3);
            self.log.cut_back(count);
            // The cursor lies in the database that was cut back.
            self.relay_cursor = self.relay_cursor.min(self.log.head());
            self.reached.cut_backs += 1;
        }
    }

    fn relay_turn(&mut self) {
        for event in self.log.read(self.relay_cursor, 3) {
            let sent = match () {
                () if self.mishap(0.15) => Sent::Lost,
                () if self.mishap(0.1) => Sent::Unheard,
                () => Sent::Acknowledged,
            };
            if sent != Sent::Lost {
                let id = match self.bug {
                    Some(Bug::MessageIdIsPositionAlone) => MessageId::PositionAlone(event.position),
                    _ => MessageId::Whole(event),
                };
                self.queue.publish(event, id);
            }
            if sent != Sent::Acknowledged && !self.has(Bug::RelayCursorBeforeAcknowledgement) {
                // Sent again on the next turn; the queue knows it by its id if it did arrive.
                return;
            }
            self.relay_cursor = event.position;
        }
    }

    /// Ends the chaos with one last blow: nothing may depend on what the queue remembers.
    pub(super) fn calm_down(&mut self) {
        self.chaos = false;
        while self.log.late_count() > 0 {
            self.log.commit_late(0);
        }
        if self.profile.queue_fails {
            self.queue.delete();
            self.handlers.iter_mut().flatten().for_each(|owner| owner.forget_messages_after(0));
        }
    }

    /// After a step: rows whose checkpoint is in the log must be the fold of the log up to it.
    pub(super) fn check(&self, step: u32) -> Result<(), Violation> {
        if let Some(missing) = self.needless_hole {
            return Err(Violation::HoleRead { step, missing });
        }
        let checkpoint = self.read_model.checkpoint;
        // A checkpoint on a branch that was cut off claims nothing: its owner is about to notice, and to rebuild.
        if self.log.holds(checkpoint) && self.read_model.rows != self.log.fold_up_to(checkpoint.position) {
            return Err(Violation::NotTheFold { step, checkpoint: checkpoint.position });
        }
        Ok(())
    }

    /// At rest there is no excuse: the rows are the fold of the whole log.
    pub(super) fn check_at_rest(self) -> Result<Reached, Violation> {
        let (checkpoint, head) = (self.read_model.checkpoint.position, self.log.head());
        if checkpoint != head || self.read_model.rows != self.log.fold_up_to(head) {
            return Err(Violation::NotAtTheHead { checkpoint, head });
        }
        Ok(self.reached)
    }
}
