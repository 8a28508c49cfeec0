//! The durable result: rows, checkpoint and owner token, written in one transaction.

use super::log::Event;

/// Rows that forgive nothing: an event left out, repeated or out of order gives another value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    hash: u64,
    count: u64,
}

impl Rows {
    pub(super) fn fold(&mut self, event: &Event) {
        self.hash = (self.hash.rotate_left(5) ^ event.id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.count += 1;
    }
}

/// How far the rows have come, and which event that was. Position 0 is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) position: u64,
    pub(super) event_id: u64,
}

impl Checkpoint {
    pub(super) fn at(event: &Event) -> Self {
        Self { position: event.position, event_id: event.id }
    }
}

/// The record that each commit replaces as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadModel {
    pub(super) rows: Rows,
    pub(super) checkpoint: Checkpoint,
    /// Counts take-overs. Only who took the last one may commit.
    pub(super) owner: u64,
}

impl ReadModel {
    /// Takes the read model over and returns the token to commit with.
    pub(super) fn take_over(&mut self) -> u64 {
        self.owner += 1;
        self.owner
    }

    /// Throws the rows away: they hold events that the log no longer has, and rows cannot be unfolded.
    pub(super) fn start_again(&mut self) {
        self.rows = Rows::default();
        self.checkpoint = Checkpoint::default();
    }
}
