//! Copies a log with everything that belongs to it: events with their positions and hashes, the lineage, what is remembered
//! under idempotency keys, the log's own clock, and how far the queue has everything.
//!
//! One [`copy`] moves a log to another engine, backs it up into a file, and restores it from there: each is a [`CopySource`]
//! read in order into a [`CopyTarget`]. Snapshots are hints and stay behind.

mod backup; // a file as a target and as a source
mod chain; // what is copied follows on what was
mod line; // what one line of that file says
mod log; // a log as a source
mod read_back; // what was written is what was read

use std::time::Duration;

use model::{EpochId, Hash, Lineage, Position, StoredEvent};

use self::chain::Chain;
pub use self::{
    backup::{Backup, BackupReader},
    log::LogSource,
    read_back::verify_copy,
};
use crate::{Error, IdempotencyRecord, ReadLimit};

/// What a copy is of: a log as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its lives, in order.
    pub epochs: Vec<CopiedEpoch>,
    /// Its last position; `None` for an empty log.
    pub head: Option<Position>,
    /// The hash there; all zero for an empty log.
    pub hash: Hash,
    /// What its own clock showed, by which idempotency records are as old as they are.
    pub clock: Duration,
    /// How far the queue had everything.
    pub relayed: Option<Position>,
}

impl Contents {
    /// The epochs as positions are looked up in them.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        Lineage(
            self.epochs.iter().map(|CopiedEpoch { id, first, .. }| model::Epoch { id: *id, first: *first }).collect(),
        )
    }

    /// Tells this state of this log from any other one.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        let mut bytes = Vec::with_capacity(64 + 32 * self.epochs.len());
        for CopiedEpoch { id, first, began } in &self.epochs {
            bytes.extend_from_slice(id.0.as_bytes());
            bytes.extend_from_slice(&first.get().to_be_bytes());
            bytes.extend_from_slice(&began.to_be_bytes());
        }
        bytes.extend_from_slice(&Position::count(self.head).to_be_bytes());
        bytes.extend_from_slice(&self.hash.0);
        bytes.extend_from_slice(&self.clock.as_micros().to_be_bytes());
        Hash::of(&bytes)
    }
}

/// One life of a log that is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedEpoch {
    /// Its id.
    pub id: EpochId,
    /// Its first position.
    pub first: Position,
    /// When it began, in microseconds since 1970.
    pub began: i64,
}

/// An event, with its place among those of its command, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedEvent {
    /// The event.
    pub event: StoredEvent,
    /// Its place.
    pub command_index: u32,
}

/// What is remembered under an idempotency key, and since when by the log's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedRecord {
    /// The key.
    pub key: Hash,
    /// What is remembered.
    pub record: IdempotencyRecord,
    /// Since when.
    pub elapsed: Duration,
}

/// Where a copy is taken from, in order: first all records, then all events.
///
/// # Errors
/// Its functions fail where something is damaged, or cannot be read.
pub trait CopySource {
    /// What it is a copy of.
    fn contents(&self) -> &Contents;

    /// Leaves out what the target has already.
    fn skip(&mut self, progress: &Progress);

    /// The next records, by key; none at their end.
    fn records(&mut self) -> Result<Vec<CopiedRecord>, Error>;

    /// The next events, by position; none at their end. Called after all records.
    fn events(&mut self) -> Result<Vec<CopiedEvent>, Error>;
}

/// Where a copy is written to.
///
/// # Errors
/// Its functions fail where that cannot be written; what a call before has written stays.
pub trait CopyTarget {
    /// Makes room for a copy of these contents, or finds what is there of one.
    fn begin(&mut self, contents: &Contents) -> Result<Progress, Error>;

    /// The next records.
    fn records(&mut self, records: &[CopiedRecord]) -> Result<(), Error>;

    /// The next events.
    fn events(&mut self, events: &[CopiedEvent]) -> Result<(), Error>;
}

/// What a target has already of a copy that was interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last event's position.
    pub position: Option<Position>,
    /// The last event's hash; all zero where there is none.
    pub hash: Hash,
    /// The last record's key.
    pub key: Option<Hash>,
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many records were copied now.
    Records(u64),
    /// The events up to this position of all are there.
    Events {
        /// Up to here.
        position: u64,
        /// All.
        of: u64,
    },
}

/// Whether a copy goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It does.
    GoOn,
    /// It ends here, and may be taken up again.
    Stop,
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// All of it is in the target.
    Whole,
    /// It was told to stop.
    Stopped,
}

/// Copies `source` into `target`, or what the target lacks of it, and recomputes the hash chain on the way.
///
/// # Errors
/// Those of the two, and [`Error::Corrupt`] where an event does not follow on the one before.
pub fn copy(
    source: &mut dyn CopySource,
    target: &mut dyn CopyTarget,
    tell: &mut dyn FnMut(Step) -> Pace,
) -> Result<Copied, Error> {
    let contents = source.contents().clone();
    let progress = target.begin(&contents)?;
    let mut chain = Chain::after(&contents, &progress)?;
    source.skip(&progress);
    let mut count = 0;
    loop {
        let records = source.records()?;
        if records.is_empty() {
            break;
        }
        target.records(&records)?;
        count += records.len() as u64;
        if tell(Step::Records(count)) == Pace::Stop {
            return Ok(Copied::Stopped);
        }
    }
    loop {
        let events = source.events()?;
        if events.is_empty() {
            chain.end()?;
            return Ok(Copied::Whole);
        }
        for event in &events {
            chain.follow(&event.event)?;
        }
        target.events(&events)?;
        if tell(chain.step()) == Pace::Stop {
            return Ok(Copied::Stopped);
        }
    }
}

/// Goes nowhere: what is copied into it has been checked, and that is all.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl CopyTarget for Nowhere {
    fn begin(&mut self, _contents: &Contents) -> Result<Progress, Error> {
        Ok(Progress::default())
    }

    fn records(&mut self, _records: &[CopiedRecord]) -> Result<(), Error> {
        Ok(())
    }

    fn events(&mut self, _events: &[CopiedEvent]) -> Result<(), Error> {
        Ok(())
    }
}

/// Events that travel together.
const SLICE: ReadLimit = ReadLimit { events_max: 4_096, bytes_max: 8 << 20 };
/// Records that travel together.
const SLICE_RECORDS: u32 = 4_096;
