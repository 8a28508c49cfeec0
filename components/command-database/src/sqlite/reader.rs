//! A connection that reads: ranges of the log, streams, the head.

use model::{Epoch, EpochId, Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    MARK_EVERY,
    failure::{Failure, Result},
    names::{KnownNames, NamesByNumber},
    row::{self, COLUMNS, number},
    writer::snapshot_checksum,
};
use crate::{Head, Load, Loaded, ReadLimit, Snapshot};

pub(super) struct Reader {
    connection: Connection,
    known: KnownNames,
    /// For the layout that checksums are taken over.
    bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, known: KnownNames::default(), bytes: Vec::new() }
    }

    /// Runs `read` on one state of the log, whatever is committed meanwhile.
    pub(super) fn snapshot<T>(&mut self, read: impl FnOnce(&mut View<'_>) -> Result<T>) -> Result<T> {
        let Self { connection, known, bytes } = self;
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK")?;
        }
        connection.prepare_cached("BEGIN")?.execute([])?;
        let result = lineage(connection).and_then(|lineage| {
            let names = NamesByNumber { connection, known };
            read(&mut View { connection, names, bytes, lineage })
        });
        connection.prepare_cached("COMMIT")?.execute([])?;
        result
    }
}

pub(super) fn lineage(connection: &Connection) -> Result<Lineage> {
    let mut statement = connection.prepare_cached("SELECT epoch, first FROM lineage ORDER BY ordinal")?;
    let epochs = statement.query_map([], |row| {
        let id = EpochId(Uuid::from_bytes(row.get(0)?));
        Ok(Epoch { id, first: Position::new(row.get::<_, i64>(1)?.cast_unsigned()).unwrap_or(Position::FIRST) })
    })?;
    Ok(Lineage(epochs.collect::<rusqlite::Result<_>>()?))
}

/// One state of the log.
pub(super) struct View<'a> {
    pub(super) connection: &'a Connection,
    names: NamesByNumber<'a>,
    bytes: &'a mut Vec<u8>,
    pub(super) lineage: Lineage,
}

struct StreamRow {
    number: i64,
    version: StreamVersion,
    last: Position,
}

impl View<'_> {
    pub(super) fn head(&mut self) -> Result<Head> {
        let epoch = self.lineage.current().ok_or_else(|| Failure::corrupt(0, "the lineage is empty"))?.id;
        let last = self.last()?;
        let position = last.as_ref().map(|event| event.position);
        Ok(Head { position, hash: last.map_or(Hash::default(), |event| event.hash), epoch })
    }

    pub(super) fn last(&mut self) -> Result<Option<StoredEvent>> {
        let statement = format!("SELECT {COLUMNS} FROM events ORDER BY position DESC LIMIT 1");
        let mut statement = self.connection.prepare_cached(&statement)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        row::decode(row, &mut self.names, &self.lineage, self.bytes).map(Some)
    }

    pub(super) fn read(&mut self, after: Option<Position>, limit: ReadLimit) -> Result<Vec<StoredEvent>> {
        let statement = format!("SELECT {COLUMNS} FROM events WHERE position > ?1 ORDER BY position LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&statement)?;
        let most = i64::try_from(limit.events_max.max(1)).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![number(Position::count(after)), most])?;
        let mut events = Vec::new();
        let mut expected = Position::after(after);
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let event = row::decode(row, &mut self.names, &self.lineage, self.bytes)?;
            if event.position != expected {
                return Err(Failure::corrupt(expected.get(), "the position is missing"));
            }
            expected = expected.next();
            bytes += event.payload.len();
            events.push(event);
            if bytes >= limit.bytes_max {
                break;
            }
        }
        Ok(events)
    }

    pub(super) fn load(&mut self, load: &Load, limit: ReadLimit) -> Result<Loaded> {
        let Some(stream) = self.find_stream(&load.stream)? else {
            return Ok(Loaded { snapshot: None, events: Vec::new(), version: None });
        };
        self.names.know_stream(stream.number, &load.stream);
        let snapshot = self.find_snapshot(&stream, load)?;
        let events = self.stream_events(&stream, snapshot.as_ref().map(|snapshot| snapshot.version), limit)?;
        Ok(Loaded { snapshot, events, version: Some(stream.version) })
    }

    pub(super) fn read_stream(
        &mut self,
        id: &StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredEvent>> {
        let Some(stream) = self.find_stream(id)? else { return Ok(Vec::new()) };
        self.names.know_stream(stream.number, id);
        self.stream_events(&stream, after, limit)
    }

    fn find_stream(&self, id: &StreamId) -> Result<Option<StreamRow>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT stream, version, last_position FROM categories JOIN streams USING (category)
             WHERE tenant = ?1 AND aggregate = ?2 AND id = ?3",
        )?;
        let found: Option<(i64, i64, i64)> = statement
            .query_row(params![id.tenant.as_str(), id.aggregate, id.id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((number, version, last)) = found else { return Ok(None) };
        match (StreamVersion::new(version.cast_unsigned()), Position::new(last.cast_unsigned())) {
            (Some(version), Some(last)) => Ok(Some(StreamRow { number, version, last })),
            _ => Err(Failure::corrupt(0, format!("stream {id} has version {version} at position {last}"))),
        }
    }

    /// A snapshot is a hint: one that is damaged, of another shape, or ahead of its stream is as good as none.
    fn find_snapshot(&self, stream: &StreamRow, load: &Load) -> Result<Option<Snapshot>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT version, checksum, state FROM snapshots WHERE stream = ?1 AND state_shape = ?2")?;
        let found: Option<(i64, i32, Vec<u8>)> = statement
            .query_row(params![stream.number, load.state_shape.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        Ok(found.and_then(|(version, checksum, state)| {
            let version = StreamVersion::new(version.cast_unsigned()).filter(|version| *version <= stream.version)?;
            let fits = snapshot_checksum(version, &load.state_shape, &state) == checksum;
            fits.then(|| Snapshot {
                stream: load.stream.clone(),
                version,
                state_shape: load.state_shape,
                state: state.into(),
            })
        }))
    }

    /// Follows the stream backward to learn the positions, then reads them forward, so that the limits hold.
    fn stream_events(
        &mut self,
        stream: &StreamRow,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredEvent>> {
        let positions = self.stream_positions(stream, StreamVersion::count(after), limit.events_max.max(1))?;
        let statement = format!("SELECT {COLUMNS} FROM events WHERE position = ?1");
        let mut statement = self.connection.prepare_cached(&statement)?;
        let mut events = Vec::with_capacity(positions.len());
        let mut bytes = 0;
        for position in positions.into_iter().rev() {
            let mut rows = statement.query([position])?;
            let Some(row) = rows.next()? else { return Err(missing(position)) };
            let event = row::decode(row, &mut self.names, &self.lineage, self.bytes)?;
            bytes += event.payload.len();
            events.push(event);
            if bytes >= limit.bytes_max {
                break;
            }
        }
        Ok(events)
    }

    /// Positions of the `most` versions after `after`, newest first.
    fn stream_positions(&self, stream: &StreamRow, after: u64, most: usize) -> Result<Vec<i64>> {
        let current = stream.version.get();
        let newest = current.min(after.saturating_add(most as u64));
        if newest <= after {
            return Ok(Vec::new());
        }
        let (mut version, mut position) = (current, number(stream.last.get()));
        if current - newest > MARK_EVERY
            && let Some(mark) = self.find_mark(stream.number, newest)?
        {
            (version, position) = mark;
        }
        let mut step =
            self.connection.prepare_cached("SELECT stream, version, previous FROM events WHERE position = ?1")?;
        let mut positions = Vec::with_capacity((newest - after) as usize);
        loop {
            let previous = step_back(&mut step, stream.number, version, position)?;
            if version <= newest {
                positions.push(position);
            }
            version -= 1;
            match previous {
                _ if version == after => return Ok(positions),
                Some(previous) => position = previous,
                None => {
                    return Err(Failure::corrupt(position.cast_unsigned(), "its stream does not go on from here"));
                }
            }
        }
    }

    /// The nearest mark at or above `version`.
    fn find_mark(&self, stream: i64, version: u64) -> Result<Option<(u64, i64)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT version, position FROM stream_marks WHERE stream = ?1 AND version >= ?2 ORDER BY version LIMIT 1",
        )?;
        Ok(statement
            .query_row(params![stream, number(version)], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))
            .optional()?)
    }
}

fn missing(position: i64) -> Failure {
    Failure::corrupt(position.cast_unsigned(), "the position is missing")
}

/// Position of the stream's previous event, once this one is seen to be the stream's event of `version`.
fn step_back(step: &mut CachedStatement<'_>, stream: i64, version: u64, position: i64) -> Result<Option<i64>> {
    let found: Option<(i64, i64, Option<i64>)> =
        step.query_row([position], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let Some((found_stream, found_version, previous)) = found else { return Err(missing(position)) };
    if (found_stream, found_version) != (stream, number(version)) {
        return Err(Failure::corrupt(position.cast_unsigned(), format!("it is not version {version} of its stream")));
    }
    Ok(previous)
}
