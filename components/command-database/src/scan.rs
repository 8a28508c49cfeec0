//! A log as whoever verifies or copies it reads it: past damage, which is told in its place, and without writing.

use std::time::Duration;

use bytes::Bytes;
use model::{CommandId, EpochId, Hash, Position, StoredEvent, StreamId};

use crate::{Error, IdempotencyRecord, ReadLimit};

/// A log that is read only, beside its writers or without one.
///
/// Unlike [`EventStore`](crate::EventStore) it blocks, trusts nothing, and gives numbers as they are stored.
///
/// # Errors
/// Each of its functions fails when the log cannot be read.
pub trait LogScan {
    /// What errors call the log.
    fn name(&self) -> String;

    /// Lets everything that is read until [`LogScan::end`] be of one state of the log. To be short beside a writer.
    fn begin(&mut self) -> Result<(), Error>;

    /// Ends what [`LogScan::begin`] began.
    fn end(&mut self) -> Result<(), Error>;

    /// Where the log ends: by its events, and as it is kept beside them.
    fn head(&mut self) -> Result<ScannedHead, Error>;

    /// Every epoch, in order.
    fn epochs(&mut self) -> Result<Vec<ScannedEpoch>, Error>;

    /// What stands after position `after`, up to `limit`. What cannot be read is part of the answer.
    fn events(&mut self, after: i64, limit: ReadLimit) -> ScannedSlice;

    /// The position up to which [`LogScan::streams`] is to tell where streams stand. Of streams with later events it tells
    /// something that was so once, or nothing.
    fn streams_position(&mut self) -> Result<i64, Error>;

    /// Tells `each` of every stream, by number.
    fn streams(&mut self, each: &mut dyn FnMut(ScannedStream)) -> Result<(), Error>;

    /// The name of the stream of that number; the number itself where it has none.
    fn stream_name(&mut self, number: i64) -> String;

    /// Every mark, in order.
    fn marks(&mut self) -> Result<Marks, Error>;

    /// About `most` snapshots, evenly chosen, and how many there are.
    fn snapshots(&mut self, most: u64) -> Result<(Vec<ScannedSnapshot>, u64), Error>;

    /// The next `most` idempotency records after key `after`, each with the event that it says it begins with.
    fn records(&mut self, after: Hash, most: u32) -> Result<Vec<ScannedRecord>, Error>;

    /// The log's own clock, by which its idempotency records are as old as they are.
    fn clock(&mut self) -> Result<Duration, Error>;

    /// How far the queue has everything, as the relay has noted last.
    fn relayed(&mut self) -> Result<Option<Position>, Error>;
}

/// The end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedHead {
    /// The last event's position; 0 while the log is empty.
    pub position: i64,
    /// The same and its hash, as they are kept beside the events; `None` for a log that keeps nothing of it.
    pub kept: Option<(i64, Hash)>,
}

/// One life of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedEpoch {
    /// Its place among them, from 1.
    pub ordinal: i64,
    /// Its id.
    pub id: EpochId,
    /// Its first position.
    pub first: i64,
    /// When it began, in microseconds since 1970, for people.
    pub began: i64,
}

/// What an event says of its stream's previous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// Nothing: the log finds a stream's events by other means.
    NotKept,
    /// That there is none.
    None,
    /// Where it is.
    At(i64),
}

/// Where long streams can be entered in their middle.
#[derive(Debug)]
pub enum Marks {
    /// Nowhere: the log does without.
    NotKept,
    /// At every version that is divisible by `every`.
    Kept {
        /// Versions from one to the next.
        every: u64,
        /// Those that are stored, in order.
        marks: Vec<ScannedMark>,
    },
}

/// What stands at one position.
#[derive(Debug)]
pub enum Scanned {
    /// An event, which may still be a changed one.
    Event(Box<ScannedEvent>),
    /// Nothing that could have been written.
    Unreadable {
        /// Where.
        position: i64,
        /// What is wrong with it.
        found: String,
    },
}

/// An event, and what a reader of events is not told.
#[derive(Debug)]
pub struct ScannedEvent {
    /// As stored.
    pub event: StoredEvent,
    /// As [`digest`](crate::digest) has it.
    pub digest: Hash,
    /// Whether the columns are those that were written together.
    pub fits_checksum: bool,
    /// The number that its stream goes by.
    pub stream_number: i64,
    /// What it says of the stream's previous event.
    pub previous: Previous,
    /// Its place among its command's events, from 0.
    pub command_index: i64,
}

/// A stretch of the log.
#[derive(Debug)]
pub struct ScannedSlice {
    /// In the order of their positions.
    pub events: Vec<Scanned>,
    /// Why it ends early: the file cannot be read here.
    pub failed: Option<Error>,
}

/// A stream as it is kept beside its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedStream {
    /// The number that it goes by.
    pub number: i64,
    /// Its version.
    pub version: i64,
    /// Position of its last event.
    pub last: i64,
}

/// Where a long stream can be entered in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScannedMark {
    /// The stream's number.
    pub stream: i64,
    /// The event's version.
    pub version: i64,
    /// The event's position.
    pub position: i64,
}

/// A stored snapshot.
#[derive(Debug)]
pub struct ScannedSnapshot {
    /// The number of its stream.
    pub stream_number: i64,
    /// Its stream, where that is known.
    pub stream: Option<StreamId>,
    /// Of which version.
    pub version: i64,
    /// Whether the columns are those that were written together.
    pub fits_checksum: bool,
    /// Shape of the state.
    pub state_shape: Hash,
    /// JSON text.
    pub state: Bytes,
}

/// What is remembered under an idempotency key.
#[derive(Debug)]
pub struct ScannedRecord {
    /// The key.
    pub key: Hash,
    /// The record, and whether it fits its checksum; or why it cannot be read.
    pub record: std::result::Result<(IdempotencyRecord, bool), String>,
    /// When it was written, by the log's own clock; 0 where the record cannot be read.
    pub elapsed: Duration,
    /// Of the event at the record's first position: its command and how many events that made. `None` where there is none.
    pub at_first: Option<(CommandId, u32)>,
}
