use model::{Hash, Lineage, Position, StoredEvent};

use super::{Contents, Progress, Step};
use crate::{Error, verify_link};

/// Where a copy has come to: each event has to follow on the one before.
pub(super) struct Chain {
    lineage: Lineage,
    head: u64,
    end: Hash,
    position: Option<Position>,
    hash: Hash,
}

impl Chain {
    /// Goes on behind what is there.
    pub(super) fn after(contents: &Contents, progress: &Progress) -> Result<Self, Error> {
        let Progress { position, hash, .. } = *progress;
        let (lineage, head, end) = (contents.lineage(), Position::count(contents.head), contents.hash);
        let chain = Self { lineage, head, end, position, hash };
        if chain.position() > head {
            return Err(chain.refuse(&format!("what is copied ends at {head}")));
        }
        Ok(chain)
    }

    pub(super) fn position(&self) -> u64 {
        Position::count(self.position)
    }

    pub(super) fn step(&self) -> Step {
        Step::Events { position: self.position(), of: self.head }
    }

    pub(super) fn follow(&mut self, event: &StoredEvent) -> Result<(), Error> {
        let next = Position::after(self.position);
        if event.position != next {
            return Err(self.refuse(&format!("position {} follows on it", event.position)));
        }
        if self.lineage.epoch_of(next) != Some(event.epoch) {
            return Err(self.refuse("the event after it is of another epoch than its lineage says"));
        }
        if !verify_link(&self.hash, event) {
            return Err(self.refuse("the hash of the event after it is not that of its content after this one"));
        }
        (self.position, self.hash) = (Some(next), event.hash);
        Ok(())
    }

    /// Nothing follows any more.
    pub(super) fn end(&self) -> Result<(), Error> {
        if self.position() != self.head {
            return Err(self.refuse(&format!("nothing follows on it, and {} positions were to come", self.head)));
        }
        if self.hash != self.end {
            return Err(self.refuse("it ends with another hash than it says"));
        }
        Ok(())
    }

    fn refuse(&self, found: &str) -> Error {
        Error::Corrupt { log: "that is copied".to_owned(), position: self.position(), found: found.to_owned() }
    }
}
