//! Reads a log for whoever verifies or copies it: past damage, which is told in its place, and without writing.

use std::time::Duration;

use model::{CommandId, EpochId, Hash, Position, StreamId, StreamVersion, Tenant};
use tokio::runtime::Handle;
use tokio_postgres::Row;

use super::{
    alone::{Access, Alone},
    batch,
    failure::{Failure, Result},
    reading::{limited_columns, limits},
    row::{self, COLUMNS, number, value},
    streams::snapshot_checksum,
    text,
};
use crate::{
    Error, LogScan, Marks, PostgresConfig, Previous, ReadLimit, Scanned, ScannedEpoch, ScannedEvent, ScannedHead,
    ScannedRecord, ScannedSlice, ScannedSnapshot, ScannedStream,
};

/// The log on PostgreSQL as [`LogScan`] has it: on its primary or on a standby.
///
/// Takes a user who may read all that a Command Service may: a member of the role `<prefix>_append`.
pub struct PostgresLogScan {
    connection: Alone,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for PostgresLogScan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresLogScan").field("log", &self.connection.log()).finish_non_exhaustive()
    }
}

/// Streams that are read at a time.
const STREAMS_AT_ONCE: i64 = 16_384;
/// Comes after the columns of an event: the number of its stream.
const STREAM_COLUMN: usize = 21;

impl PostgresLogScan {
    /// Opens the log, which is left as it is. `threads` carry the connection; the caller's own must not be one of them, since
    /// this and what follows block.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::FormatTooNew`], [`Error::NotMigrated`], [`Error::Connect`], [`Error::Address`].
    pub fn open(config: &PostgresConfig, threads: &Handle) -> std::result::Result<Self, Error> {
        let address = config.parse()?;
        let log = address.log.clone();
        let opened = Alone::connect(address, Access::Read, threads).and_then(|connection| {
            connection.check_mark()?;
            Ok(connection)
        });
        opened.map(Self::over).map_err(|failure| failure.while_connecting(&log))
    }

    pub(super) fn over(connection: Alone) -> Self {
        Self { connection, buffer: Vec::new() }
    }

    fn reading<T>(&self, result: Result<T>) -> std::result::Result<T, Error> {
        result.map_err(|failure| self.connection.reading(failure))
    }

    fn try_head(&self) -> Result<ScannedHead> {
        let statement = "SELECT coalesce((SELECT max(position) FROM diptych.events), 0), position, hash
            FROM diptych.log_head";
        let row = self.connection.query(statement, &[])?.into_iter().next();
        let row = row.ok_or_else(|| Failure::corrupt(0, "the end of the log is not recorded"))?;
        Ok(ScannedHead { position: value(&row, 0)?, kept: Some((value(&row, 1)?, row::hash(&row, 2)?)) })
    }

    fn try_epochs(&self) -> Result<Vec<ScannedEpoch>> {
        let statement = "SELECT ordinal, epoch, first, began FROM diptych.lineage ORDER BY ordinal";
        let epoch = |row: &Row| {
            let ordinal = i64::from(value::<i32>(row, 0)?);
            Ok(ScannedEpoch { ordinal, id: EpochId(value(row, 1)?), first: value(row, 2)?, began: value(row, 3)? })
        };
        self.connection.query(statement, &[])?.iter().map(epoch).collect()
    }

    fn try_events(&mut self, after: i64, limit: ReadLimit, events: &mut Vec<Scanned>) -> Result<()> {
        let columns = format!("{COLUMNS}, stream");
        let statement = limited_columns(&columns, "WHERE position > $1", "position", "$2", "$3");
        let (events_max, bytes_max) = limits(limit);
        for row in &self.connection.query(&statement, &[&after, &events_max, &bytes_max])? {
            let position = value(row, 0)?;
            events.push(match scan(row, &mut self.buffer) {
                Ok(event) => Scanned::Event(Box::new(event)),
                Err(Failure::Corrupt { found, .. }) => Scanned::Unreadable { position, found },
                // About one value, not about the answer.
                Err(Failure::Server(error)) => Scanned::Unreadable { position, found: error.to_string() },
                Err(failure) => return Err(failure),
            });
        }
        Ok(())
    }

    fn try_streams(&self, each: &mut dyn FnMut(ScannedStream)) -> Result<()> {
        let statement = "SELECT s.stream, s.version, coalesce(e.position, 0)
            FROM (SELECT stream, coalesce(version, 0) AS version FROM diptych.streams WHERE stream > $1 ORDER BY stream LIMIT $2) AS s
            LEFT JOIN diptych.events e ON e.stream = s.stream AND e.version = s.version ORDER BY s.stream";
        let mut after = i64::MIN;
        loop {
            let rows = self.connection.query(statement, &[&after, &STREAMS_AT_ONCE])?;
            for row in &rows {
                after = value(row, 0)?;
                each(ScannedStream { number: after, version: value(row, 1)?, last: value(row, 2)? });
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    fn try_stream_name(&self, number: i64) -> Result<Option<StreamId>> {
        let statement = "SELECT tenant, aggregate, id FROM diptych.streams WHERE stream = $1";
        self.connection.query(statement, &[&number])?.first().map(|row| stream(row, 0)).transpose()
    }

    fn try_snapshots(&self, most: u64) -> Result<(Vec<ScannedSnapshot>, u64)> {
        let total = self.connection.query_one("SELECT count(*) FROM diptych.snapshots", &[])?;
        let total = value::<i64>(&total, 0)?.cast_unsigned();
        let statement = "SELECT p.stream, p.version, p.checksum, p.state_shape, p.state, s.tenant, s.aggregate, s.id
            FROM diptych.snapshots p LEFT JOIN diptych.streams s ON s.stream = p.stream
            WHERE p.stream % $1 = 0 LIMIT $2";
        let every = number(total.div_ceil(most).max(1));
        let rows = self.connection.query(statement, &[&every, &number(most.saturating_mul(2))])?;
        let snapshots = rows.iter().map(snapshot).collect::<Result<_>>()?;
        Ok((snapshots, total))
    }

    fn try_records(&self, after: Hash, most: u32) -> Result<Vec<ScannedRecord>> {
        let statement =
            "SELECT i.fingerprint, i.command_id, i.first, i.events, i.version, i.head, i.refusal, i.checksum,
                i.key, i.elapsed, e.command_id, e.command_events
            FROM (SELECT * FROM diptych.idempotency WHERE key > $1 ORDER BY key LIMIT $2) AS i
            LEFT JOIN diptych.events e ON e.position = i.first AND e.command_index = 0 ORDER BY i.key";
        let rows = self.connection.query(statement, &[&&after.0[..], &i64::from(most)])?;
        rows.iter().map(record).collect()
    }
}

fn scan(row: &Row, buffer: &mut Vec<u8>) -> Result<ScannedEvent> {
    let position: i64 = value(row, 0)?;
    if position < 1 {
        return Err(Failure::corrupt(0, "positions count from 1"));
    }
    let (event, fits_checksum) = row::decode_unchecked(row, buffer)?;
    Ok(ScannedEvent {
        event,
        digest: Hash::of(buffer),
        fits_checksum,
        stream_number: value(row, STREAM_COLUMN)?,
        previous: Previous::NotKept,
        command_index: i64::from(value::<i32>(row, 10)?),
    })
}

fn stream(row: &Row, from: usize) -> Result<StreamId> {
    let name = |column| Ok::<_, Failure>(text::restore(value(row, column)?));
    Ok(StreamId { tenant: Tenant::new(&name(from)?), aggregate: name(from + 1)?.into(), id: name(from + 2)?.into() })
}

fn snapshot(row: &Row) -> Result<ScannedSnapshot> {
    let (version, shape, state) = (value::<i64>(row, 1)?, row::hash(row, 3)?, value::<&[u8]>(row, 4)?);
    let checksum = StreamVersion::new(version.cast_unsigned());
    let checksum = checksum.map(|version| snapshot_checksum(version, &shape.0, state));
    let is_named = value::<Option<&str>>(row, 5)?.is_some();
    Ok(ScannedSnapshot {
        stream_number: value(row, 0)?,
        stream: is_named.then(|| stream(row, 5)).transpose()?,
        version,
        fits_checksum: checksum == Some(value(row, 2)?),
        state_shape: shape,
        state: bytes::Bytes::copy_from_slice(state),
    })
}

fn record(row: &Row) -> Result<ScannedRecord> {
    let key = row::hash(row, 8)?;
    let record = match batch::unchecked_record(row, 0, &key) {
        Ok(record) => Ok(record),
        Err(Failure::Corrupt { found, .. }) => Err(found),
        Err(Failure::Server(error)) => Err(error.to_string()),
        Err(failure) => return Err(failure),
    };
    let command: Option<uuid::Uuid> = value(row, 10)?;
    let events: Option<i32> = value(row, 11)?;
    let elapsed = Duration::from_micros(value::<i64>(row, 9)?.max(0).cast_unsigned());
    let at_first = command.zip(events).map(|(command, events)| (CommandId(command), events.cast_unsigned()));
    Ok(ScannedRecord { key, record, elapsed, at_first })
}

impl LogScan for PostgresLogScan {
    fn name(&self) -> String {
        self.connection.log().to_owned()
    }

    fn begin(&mut self) -> std::result::Result<(), Error> {
        self.reading(self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    }

    fn end(&mut self) -> std::result::Result<(), Error> {
        self.reading(self.connection.execute("COMMIT"))
    }

    fn head(&mut self) -> std::result::Result<ScannedHead, Error> {
        self.reading(self.try_head())
    }

    fn epochs(&mut self) -> std::result::Result<Vec<ScannedEpoch>, Error> {
        self.reading(self.try_epochs())
    }

    fn events(&mut self, after: i64, limit: ReadLimit) -> ScannedSlice {
        let mut events = Vec::new();
        let failed = self.try_events(after, limit, &mut events).err();
        ScannedSlice { events, failed: failed.map(|failure| self.connection.reading(failure)) }
    }

    /// An append moves its streams on itself.
    fn streams_position(&mut self) -> std::result::Result<i64, Error> {
        self.head().map(|head| head.position)
    }

    fn streams(&mut self, each: &mut dyn FnMut(ScannedStream)) -> std::result::Result<(), Error> {
        self.reading(self.try_streams(each))
    }

    fn stream_name(&mut self, number: i64) -> String {
        let stream = self.try_stream_name(number).ok().flatten();
        stream.map_or_else(|| format!("stream number {number}"), |stream| stream.to_string())
    }

    fn marks(&mut self) -> std::result::Result<Marks, Error> {
        Ok(Marks::NotKept)
    }

    fn snapshots(&mut self, most: u64) -> std::result::Result<(Vec<ScannedSnapshot>, u64), Error> {
        self.reading(self.try_snapshots(most.max(1)))
    }

    fn records(&mut self, after: Hash, most: u32) -> std::result::Result<Vec<ScannedRecord>, Error> {
        self.reading(self.try_records(after, most))
    }

    fn clock(&mut self) -> std::result::Result<Duration, Error> {
        let row = self.reading(self.connection.query_one("SELECT elapsed FROM diptych.clock", &[]))?;
        let elapsed: i64 = self.reading(value(&row, 0))?;
        Ok(Duration::from_micros(elapsed.max(0).cast_unsigned()))
    }

    fn relayed(&mut self) -> std::result::Result<Option<Position>, Error> {
        let row = self.reading(self.connection.query_one("SELECT cursor FROM diptych.relay", &[]))?;
        self.reading(row::position(&row, 0))
    }
}
