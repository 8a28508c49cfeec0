//! Reads a log for whoever verifies it: past damage, which is told in its place, and without writing.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::{CommandId, EpochId, Hash, Position, StoredEvent, StreamId, StreamVersion};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    failure::{Failure, Result},
    idempotency,
    names::{KnownNames, NamesByNumber},
    reader,
    row::{self, Buffers, Epochs},
    schema,
    writer::snapshot_checksum,
};
use crate::{Error, IdempotencyRecord, ReadLimit};

/// A log that is read only, beside its writer or without one.
///
/// Unlike [`EventStore`](crate::EventStore) it blocks, trusts nothing, and gives numbers as they are stored.
pub struct LogScan {
    path: PathBuf,
    connection: Connection,
    known: KnownNames,
    buffers: Buffers,
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
    /// Position of the stream's previous event.
    pub previous: Option<i64>,
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
    /// Of the event at the record's first position: its command and how many events that made. `None` where there is none.
    pub at_first: Option<(CommandId, u32)>,
}

impl std::fmt::Debug for LogScan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogScan").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LogScan {
    /// Streams have a mark every so many versions.
    pub const MARK_EVERY: u64 = super::MARK_EVERY;

    /// Opens the log at `path`, which is left as it is.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::FormatTooNew`], [`Error::File`], [`Error::Open`], [`Error::Damaged`].
    pub fn open(path: &Path) -> std::result::Result<Self, Error> {
        schema::inspect(path)?;
        let connection = schema::connect_reading(path).map_err(|failure| failure.while_opening(path))?;
        let scan =
            Self { path: path.to_owned(), connection, known: KnownNames::default(), buffers: Buffers::default() };
        // The first page that matters is read now, so that a broken file is told from an empty log.
        scan.try_head().map_err(|failure| failure.while_opening(path))?;
        Ok(scan)
    }

    /// Lets everything that is read until [`LogScan::end`] be of one state of the log. To be short beside a writer.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn begin(&self) -> std::result::Result<(), Error> {
        self.connection.execute_batch("BEGIN").map_err(|error| self.failed(error))
    }

    /// Ends what [`LogScan::begin`] began.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn end(&self) -> std::result::Result<(), Error> {
        self.connection.execute_batch("COMMIT").map_err(|error| self.failed(error))
    }

    /// The last position; 0 while the log is empty.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn head(&self) -> std::result::Result<i64, Error> {
        self.try_head().map_err(|failure| failure.while_reading(&self.path))
    }

    fn try_head(&self) -> Result<i64> {
        let head: Option<i64> =
            self.connection.prepare_cached("SELECT max(position) FROM events")?.query_row([], |row| row.get(0))?;
        Ok(head.unwrap_or(0))
    }

    /// Ordinal, id and first position of every epoch, as stored.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn epochs(&self) -> std::result::Result<Vec<(i64, EpochId, i64)>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement =
                self.connection.prepare_cached("SELECT ordinal, epoch, first FROM lineage ORDER BY ordinal")?;
            let epochs = statement
                .query_map([], |row| Ok((row.get(0)?, EpochId(Uuid::from_bytes(row.get(1)?)), row.get(2)?)))?;
            epochs.collect()
        };
        read().map_err(|error| self.failed(error))
    }

    /// What stands after position `after`, up to `limit`. What cannot be read is part of the answer.
    pub fn events(&mut self, after: i64, limit: ReadLimit) -> ScannedSlice {
        let mut events = Vec::with_capacity(limit.events_max.min(1 << 16));
        let failed = self.try_events(after, limit, &mut events).err();
        ScannedSlice { events, failed: failed.map(|failure| failure.while_reading(&self.path)) }
    }

    fn try_events(&mut self, after: i64, limit: ReadLimit, events: &mut Vec<Scanned>) -> Result<()> {
        let Self { connection, known, buffers, .. } = self;
        let epochs = reader::epochs(connection)?;
        let mut names = NamesByNumber { connection, known };
        let mut statement = connection.prepare_cached(reader::AFTER)?;
        let mut rows = statement.query(params![after, i64::try_from(limit.events_max).unwrap_or(i64::MAX)])?;
        let mut payload_bytes = 0;
        while let Some(row) = rows.next()? {
            let position = row.get(0)?;
            let scanned = match scan(row, &mut names, &epochs, buffers) {
                Ok(event) => {
                    payload_bytes += event.event.payload.len();
                    Scanned::Event(Box::new(event))
                }
                Err(Failure::Corrupt { found, .. }) => Scanned::Unreadable { position, found },
                // An engine's error about one value, not about the file.
                Err(Failure::Engine(error)) if error.sqlite_error_code().is_none() => {
                    Scanned::Unreadable { position, found: error.to_string() }
                }
                Err(failure) => return Err(failure),
            };
            events.push(scanned);
            if payload_bytes >= limit.bytes_max {
                break;
            }
        }
        Ok(())
    }

    /// The position up to which [`LogScan::streams`] is to tell where streams stand. Of streams with later events it tells
    /// something that was so once, or nothing.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn streams_position(&self) -> std::result::Result<i64, Error> {
        let read = || self.connection.query_row("SELECT position FROM stream_index", [], |row| row.get(0));
        read().map_err(|error| self.failed(error))
    }

    /// Tells `each` of every stream, by number.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn streams(&self, mut each: impl FnMut(ScannedStream)) -> std::result::Result<(), Error> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement =
                self.connection.prepare_cached("SELECT stream, version, last_position FROM streams ORDER BY stream")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(ScannedStream { number: row.get(0)?, version: row.get(1)?, last: row.get(2)? });
            }
            Ok(())
        };
        read().map_err(|error| self.failed(error))
    }

    /// The name of the stream of that number; the number itself where it has none.
    pub fn stream_name(&mut self, number: i64) -> String {
        let Self { connection, known, .. } = self;
        let stream = NamesByNumber { connection, known }.stream(number);
        stream.ok().flatten().map_or_else(|| format!("stream number {number}"), |stream| stream.to_string())
    }

    /// Every mark, in order.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn marks(&self) -> std::result::Result<Vec<ScannedMark>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT stream, version, position FROM stream_marks ORDER BY stream, version")?;
            let marks = statement.query_map([], |row| {
                Ok(ScannedMark { stream: row.get(0)?, version: row.get(1)?, position: row.get(2)? })
            })?;
            marks.collect()
        };
        read().map_err(|error| self.failed(error))
    }

    /// About `most` snapshots, evenly chosen, and how many there are.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn snapshots(&mut self, most: u64) -> std::result::Result<(Vec<ScannedSnapshot>, u64), Error> {
        self.try_snapshots(most.max(1)).map_err(|failure| failure.while_reading(&self.path))
    }

    fn try_snapshots(&mut self, most: u64) -> Result<(Vec<ScannedSnapshot>, u64)> {
        let Self { connection, known, .. } = self;
        let total: i64 = connection.query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0))?;
        let total = total.cast_unsigned();
        let mut statement = connection.prepare_cached(
            "SELECT stream, version, checksum, state_shape, state FROM snapshots WHERE stream % ?1 = 0 LIMIT ?2",
        )?;
        let every = total.div_ceil(most).max(1);
        let mut rows = statement.query(params![row::number(every), row::number(most.saturating_mul(2))])?;
        let mut names = NamesByNumber { connection, known };
        let mut snapshots = Vec::new();
        while let Some(row) = rows.next()? {
            let (stream_number, version) = (row.get(0)?, row.get::<_, i64>(1)?);
            let (state_shape, state) = (Hash(row.get(3)?), Bytes::from(row.get::<_, Vec<u8>>(4)?));
            let checksum = StreamVersion::new(version.cast_unsigned())
                .map(|version| snapshot_checksum(version, &state_shape, &state));
            snapshots.push(ScannedSnapshot {
                stream_number,
                stream: names.stream(stream_number)?,
                version,
                fits_checksum: checksum == Some(row.get(2)?),
                state_shape,
                state,
            });
        }
        Ok((snapshots, total))
    }

    /// The next `most` idempotency records after key `after`, each with the event that it says it begins with.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn records(&self, after: Hash, most: u32) -> std::result::Result<Vec<ScannedRecord>, Error> {
        self.try_records(after, most).map_err(|error| self.failed(error))
    }

    fn try_records(&self, after: Hash, most: u32) -> rusqlite::Result<Vec<ScannedRecord>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT fingerprint, command_id, first, events, version, head, refusal, checksum, key FROM idempotency
             WHERE key > ?1 ORDER BY key LIMIT ?2",
        )?;
        let mut event = self.connection.prepare_cached(
            "SELECT command_id, command_events FROM events WHERE position = ?1 AND command_index = 0",
        )?;
        let mut rows = statement.query(params![after.0, most])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let key = Hash(row.get(8)?);
            let first: Option<i64> = row.get(2).unwrap_or(None);
            let at_first = event.query_row([first], |row| Ok((CommandId(Uuid::from_bytes(row.get(0)?)), row.get(1)?)));
            let record = idempotency::decode(row).map_err(|error| error.to_string());
            let record = record.map(|(record, stored)| {
                let fits = idempotency::checksum(&key, &record) == stored;
                (record, fits)
            });
            records.push(ScannedRecord { key, record, at_first: at_first.optional()? });
        }
        Ok(records)
    }

    fn failed(&self, error: rusqlite::Error) -> Error {
        Failure::from(error).while_reading(&self.path)
    }
}

fn scan(row: &Row<'_>, names: &mut NamesByNumber<'_>, epochs: &Epochs, buffers: &mut Buffers) -> Result<ScannedEvent> {
    let position: i64 = row.get(0)?;
    if Position::new(position.cast_unsigned()).is_none() || position < 0 {
        return Err(Failure::corrupt(0, "positions count from 1"));
    }
    let (event, fits_checksum) = row::decode_unchecked(row, names, epochs, buffers)?;
    Ok(ScannedEvent {
        digest: Hash::of(&buffers.content),
        event,
        fits_checksum,
        stream_number: row.get(1)?,
        previous: row.get::<_, Option<i64>>(3)?.map(|back| position.saturating_sub(back)),
        command_index: row.get(6)?,
    })
}
