//! Reads a log for whoever verifies or copies it: past damage, which is told in its place, and without writing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use model::{CommandId, EpochId, Hash, Position, StreamVersion};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    MARK_EVERY,
    failure::{Failure, Result, name},
    idempotency,
    names::{KnownNames, NamesByNumber},
    reader,
    row::{self, Buffers, Epochs},
    schema,
    writer::snapshot_checksum,
};
use crate::{
    Error, LogScan, Marks, Previous, ReadLimit, Scanned, ScannedEpoch, ScannedEvent, ScannedHead, ScannedMark,
    ScannedRecord, ScannedSlice, ScannedSnapshot, ScannedStream,
};

/// The embedded log as [`LogScan`] has it.
pub struct SqliteLogScan {
    path: PathBuf,
    connection: Connection,
    known: KnownNames,
    buffers: Buffers,
}

impl std::fmt::Debug for SqliteLogScan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SqliteLogScan").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteLogScan {
    /// Opens the log at `path`, which is left as it is.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::FormatTooNew`], [`Error::File`], [`Error::Open`], [`Error::Damaged`].
    pub fn open(path: &Path) -> std::result::Result<Self, Error> {
        schema::inspect(path)?;
        let connection = schema::connect_reading(path).map_err(|failure| failure.while_opening(path))?;
        let mut scan =
            Self { path: path.to_owned(), connection, known: KnownNames::default(), buffers: Buffers::default() };
        // The first page that matters is read now, so that a broken file is told from an empty log.
        scan.try_head().map_err(|failure| failure.while_opening(path))?;
        Ok(scan)
    }

    fn try_head(&mut self) -> Result<i64> {
        let head: Option<i64> =
            self.connection.prepare_cached("SELECT max(position) FROM events")?.query_row([], |row| row.get(0))?;
        Ok(head.unwrap_or(0))
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

    fn try_records(&self, after: Hash, most: u32) -> rusqlite::Result<Vec<ScannedRecord>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT fingerprint, command_id, first, events, version, head, refusal, checksum, key, elapsed
             FROM idempotency WHERE key > ?1 ORDER BY key LIMIT ?2",
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
            let elapsed = seconds(row.get(9).unwrap_or(0));
            records.push(ScannedRecord { key, record, elapsed, at_first: at_first.optional()? });
        }
        Ok(records)
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> std::result::Result<T, Error> {
        read(&self.connection).map_err(|error| Failure::from(error).while_reading(&self.path))
    }
}

/// The log's own clock counts these.
fn seconds(counted: i64) -> Duration {
    Duration::from_secs(u64::try_from(counted).unwrap_or(0))
}

impl LogScan for SqliteLogScan {
    fn name(&self) -> String {
        name(&self.path)
    }

    fn begin(&mut self) -> std::result::Result<(), Error> {
        self.read(|connection| connection.execute_batch("BEGIN"))
    }

    fn end(&mut self) -> std::result::Result<(), Error> {
        self.read(|connection| connection.execute_batch("COMMIT"))
    }

    fn head(&mut self) -> std::result::Result<ScannedHead, Error> {
        let position = self.try_head().map_err(|failure| failure.while_reading(&self.path))?;
        Ok(ScannedHead { position, kept: None })
    }

    fn epochs(&mut self) -> std::result::Result<Vec<ScannedEpoch>, Error> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT ordinal, epoch, first, began FROM lineage ORDER BY ordinal")?;
            let epochs = statement.query_map([], |row| {
                let id = EpochId(Uuid::from_bytes(row.get(1)?));
                Ok(ScannedEpoch { ordinal: row.get(0)?, id, first: row.get(2)?, began: row.get(3)? })
            })?;
            epochs.collect()
        })
    }

    fn events(&mut self, after: i64, limit: ReadLimit) -> ScannedSlice {
        let mut events = Vec::with_capacity(limit.events_max.min(1 << 16));
        let failed = self.try_events(after, limit, &mut events).err();
        ScannedSlice { events, failed: failed.map(|failure| failure.while_reading(&self.path)) }
    }

    fn streams_position(&mut self) -> std::result::Result<i64, Error> {
        self.read(|connection| connection.query_row("SELECT position FROM stream_index", [], |row| row.get(0)))
    }

    fn streams(&mut self, each: &mut dyn FnMut(ScannedStream)) -> std::result::Result<(), Error> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT stream, version, last_position FROM streams ORDER BY stream")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(ScannedStream { number: row.get(0)?, version: row.get(1)?, last: row.get(2)? });
            }
            Ok(())
        })
    }

    fn stream_name(&mut self, number: i64) -> String {
        let Self { connection, known, .. } = self;
        let stream = NamesByNumber { connection, known }.stream(number);
        stream.ok().flatten().map_or_else(|| format!("stream number {number}"), |stream| stream.to_string())
    }

    fn marks(&mut self) -> std::result::Result<Marks, Error> {
        let marks = self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT stream, version, position FROM stream_marks ORDER BY stream, version")?;
            let marks = statement.query_map([], |row| {
                Ok(ScannedMark { stream: row.get(0)?, version: row.get(1)?, position: row.get(2)? })
            })?;
            marks.collect()
        })?;
        Ok(Marks::Kept { every: MARK_EVERY, marks })
    }

    fn snapshots(&mut self, most: u64) -> std::result::Result<(Vec<ScannedSnapshot>, u64), Error> {
        self.try_snapshots(most.max(1)).map_err(|failure| failure.while_reading(&self.path))
    }

    fn records(&mut self, after: Hash, most: u32) -> std::result::Result<Vec<ScannedRecord>, Error> {
        self.try_records(after, most).map_err(|error| Failure::from(error).while_reading(&self.path))
    }

    fn clock(&mut self) -> std::result::Result<Duration, Error> {
        self.read(|connection| connection.query_row("SELECT elapsed FROM clock", [], |row| row.get(0))).map(seconds)
    }

    fn relayed(&mut self) -> std::result::Result<Option<Position>, Error> {
        let cursor: Option<i64> =
            self.read(|connection| connection.query_row("SELECT cursor FROM relay", [], |row| row.get(0)))?;
        Ok(cursor.and_then(|cursor| Position::new(cursor.cast_unsigned())))
    }
}

fn scan(row: &Row<'_>, names: &mut NamesByNumber<'_>, epochs: &Epochs, buffers: &mut Buffers) -> Result<ScannedEvent> {
    let position: i64 = row.get(0)?;
    if Position::new(position.cast_unsigned()).is_none() || position < 0 {
        return Err(Failure::corrupt(0, "positions count from 1"));
    }
    let (event, fits_checksum) = row::decode_unchecked(row, names, epochs, buffers)?;
    let back = row.get::<_, Option<i64>>(3)?;
    Ok(ScannedEvent {
        digest: Hash::of(&buffers.content),
        event,
        fits_checksum,
        stream_number: row.get(1)?,
        previous: back.map_or(Previous::None, |back| Previous::At(position.saturating_sub(back))),
        command_index: row.get(6)?,
    })
}
