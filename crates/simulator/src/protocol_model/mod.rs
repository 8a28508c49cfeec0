//! The protocol that carries events from the log into a read model, small enough to read in one sitting.
//!
//! # Who takes part
//!
//! * The **log** is the authority. Events stand in it at dense *positions* 1, 2, 3, …; the last one is the *head*. A restore
//!   or a failover can cut events off its end and go on from there: that begins a new *epoch*, and the *lineage* remembers
//!   at which position each epoch began.
//! * The **relay** copies the log into the queue. Its cursor moves once the queue has acknowledged the event, not before.
//! * The **queue** is fast and not to be trusted: it loses, repeats and reorders, and somebody may delete it.
//! * Two **handlers** have the same job: fold each event into the read model, exactly once and in order. One of them holds
//!   a lease, but leases are stolen, and who lost one may not know it yet.
//! * The **read model** is one durable record: rows, *checkpoint* (how far in the log the rows have come) and owner token.
//!
//! # What keeps it right
//!
//! 1. Rows and checkpoint change in one transaction, so a crash leaves both or neither.
//! 2. An event is applied if its position is checkpoint + 1. Lower means seen before: drop it. Higher means that something
//!    is missing, a *hole*: read the missing range from the log. Queue and log are two feeds of one cursor, hence switching
//!    between them neither loses nor repeats.
//! 3. That transaction also compares the owner token and the old checkpoint (the *fence*). A handler that was replaced while
//!    it slept can prepare whatever it likes: its commit changes nothing.
//! 4. Positions are given in the order of commits. A reader that saw position 7 has missed nothing below it.
//! 5. An event from an epoch that the lineage does not give its position to is dropped. On taking over, and whenever the
//!    epoch turns out to be another, a handler compares its checkpoint with the log; if that event is not there any more,
//!    the rows are rebuilt, since rows cannot be unfolded.
//! 6. Now and then a handler reads past its checkpoint directly from the log (the *head poll*): a queue that loses the very
//!    last events leaves no hole to notice.
//!
//! Each [`Bug`] takes away one of these, and [`run`] shows what becomes of the rows.
//!
//! # What the model teaches about testing
//!
//! The head poll repairs so much that a queue path broken in three ways ([`Bug::OF_THE_QUEUE_PATH`]) looks healthy. A safety
//! net has to be tested, and so has what hangs above it: [`Profile::queue_alone`] switches the poll off and gives the queue
//! no excuse, and there the same bugs show at once.
//!
//! The real apply loop also compares the hash chain of the log. The model leaves it out, so that each rule stands on its own.

mod handler;
mod log;
mod queue;
mod read_model;
mod world;

use self::world::World;

/// Steps of a run in which things go wrong.
const STEPS_OF_CHAOS: u32 = 500;
/// Steps after that in which nothing does, and the rows have to reach the head.
const STEPS_OF_CALM: u32 = 400;

/// A rule of the protocol that this run breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Rows are committed first, the checkpoint afterwards: a crash between the two applies a batch twice.
    CheckpointApartFromRows,
    /// Whatever the queue brings is applied, although positions before it are missing.
    NoHoleCheck,
    /// The commit does not ask who owns the read model, nor where its checkpoint stands by now.
    NoFence,
    /// Positions are handed out before the commit, as a database sequence does: a late commit appears below the cursor.
    SequenceVisibility,
    /// Nobody compares the checkpoint, or an event's epoch, with the log after it was cut back.
    NoLineageCheck,
    /// The log is read only when the queue shows a hole.
    NoHeadPoll,
    /// The queue tells repeated messages by position alone: after a cut the new event at an old position is a "repetition".
    MessageIdIsPositionAlone,
    /// The queue is told that a message is done with on receipt. A crash before the commit loses it.
    AcknowledgedBeforeCommit,
    /// The relay moves its cursor when it has sent, not when the queue has acknowledged.
    RelayCursorBeforeAcknowledgement,
}

impl Bug {
    /// Those which break the protocol visibly even under its safety net.
    pub const OF_THE_PROTOCOL: [Self; 6] = [
        Self::CheckpointApartFromRows,
        Self::NoHoleCheck,
        Self::NoFence,
        Self::SequenceVisibility,
        Self::NoLineageCheck,
        Self::NoHeadPoll,
    ];

    /// Those which the head poll repairs as long as it is on.
    pub const OF_THE_QUEUE_PATH: [Self; 3] =
        [Self::MessageIdIsPositionAlone, Self::AcknowledgedBeforeCommit, Self::RelayCursorBeforeAcknowledgement];
}

/// What surrounds the protocol in a run.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Handlers look past their checkpoint in the log even when nothing seems to be missing.
    pub head_poll: bool,
    /// The queue reorders, loses what it has acknowledged, and is deleted when the chaos ends.
    pub queue_fails: bool,
}

impl Profile {
    /// Everything goes wrong, and the head poll is there to catch it.
    #[must_use]
    pub fn safety_net() -> Self {
        Self { head_poll: true, queue_fails: true }
    }

    /// No head poll, and a queue that keeps and orders what it has acknowledged. It may repeat. Handlers still crash and
    /// are robbed of their lease, the relay's messages and their acknowledgements still get lost, the log is still cut back.
    ///
    /// With such a queue nothing can be missing, so that a single [`Violation::HoleRead`] is a failure.
    #[must_use]
    pub fn queue_alone() -> Self {
        Self { head_poll: false, queue_fails: false }
    }
}

/// What a run showed to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The rows claim to be the fold of the log up to their checkpoint, and are not.
    #[error("step {step}: rows differ from the fold of the log up to checkpoint {checkpoint}")]
    NotTheFold {
        /// When it was seen.
        step: u32,
        /// What the rows claim.
        checkpoint: u64,
    },
    /// Calm lasted long enough, and the rows are still not the fold of the whole log.
    #[error("at rest the checkpoint is {checkpoint} and the head {head}")]
    NotAtTheHead {
        /// Where the rows stand.
        checkpoint: u64,
        /// Where they should.
        head: u64,
    },
    /// A handler missed an event that a queue which loses nothing should have brought.
    #[error("step {step}: position {missing} never came, although the queue loses nothing")]
    HoleRead {
        /// When it was seen.
        step: u32,
        /// The first missing position.
        missing: u64,
    },
}

/// How often a run came by the states that make it worth running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Events appended to the log.
    pub appended: u32,
    /// Events applied and committed, again after each rebuild.
    pub applied: u32,
    /// Commits refused because another handler had taken over.
    pub fenced: u32,
    /// Ranges read from the log because the queue showed a hole.
    pub hole_reads: u32,
    /// Ranges that only the head poll brought.
    pub polled: u32,
    /// Times the log was cut back.
    pub cut_backs: u32,
    /// Messages dropped because their epoch had lost their position.
    pub dead_branch: u32,
    /// Rebuilds because the checkpoint's event was no longer in the log.
    pub rebuilds: u32,
    /// Crashes of a handler, before a commit or after it.
    pub crashes: u32,
}

/// One run: chaos, with the rows compared to the log after every step, then calm, then the comparison at rest.
///
/// Everything follows from `seed`.
///
/// # Errors
/// The first [`Violation`].
pub fn run(seed: u64, profile: Profile, bug: Option<Bug>) -> Result<Reached, Violation> {
    let mut world = World::new(seed, profile, bug);
    for step in 0..STEPS_OF_CHAOS + STEPS_OF_CALM {
        if step == STEPS_OF_CHAOS {
            world.calm_down();
        }
        world.step();
        world.check(step)?;
    }
    world.check_at_rest()
}
