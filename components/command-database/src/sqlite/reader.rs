//! A connection that reads: ranges of the log, streams, the head.

use std::sync::Arc;

use model::{Epoch, EpochId, Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    MARK_EVERY,
    failure::{Failure, Result},
    names::{KnownNames, NamesByNumber},
    row::{self, Buffers, Epochs, number},
    stream_index::Stream,
    writer::snapshot_checksum,
};
use crate::{Head, Load, Loaded, ReadLimit, Snapshot};

/// The column order that `row::decode` counts on is the table's.
const BY_POSITION: &str = "SELECT * FROM events WHERE position = ?1";
pub(super) const AFTER: &str = "SELECT * FROM events WHERE position > ?1 ORDER BY position LIMIT ?2";
const LAST: &str = "SELECT * FROM events ORDER BY position DESC LIMIT 1";

/// Versions up to which a stream is read in one pass.
const SHORT: u64 = 64;

/// Events that room is made for before they are there.
const CAPACITY_MAX: usize = 1024;

pub(super) struct Reader {
    connection: Connection,
    known: KnownNames,
    buffers: Buffers,
}

impl Reader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, known: KnownNames::default(), buffers: Buffers::default() }
    }

    /// Runs `read` on one state of the log, whatever is committed meanwhile.
    pub(super) fn snapshot<T>(&mut self, read: impl FnOnce(&mut View<'_>) -> Result<T>) -> Result<T> {
        let Self { connection, known, buffers } = self;
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK")?;
        }
        connection.prepare_cached("BEGIN")?.execute([])?;
        let result = epochs(connection).and_then(|epochs| {
            let names = NamesByNumber { connection, known };
            read(&mut View { connection, names, buffers, epochs })
        });
        connection.prepare_cached("COMMIT")?.execute([])?;
        result
    }
}

pub(super) fn epochs(connection: &Connection) -> Result<Epochs> {
    let mut statement = connection.prepare_cached("SELECT epoch, first, began FROM lineage ORDER BY ordinal")?;
    let mut rows = statement.query([])?;
    let mut epochs = Epochs { lineage: Lineage::default(), began: 0 };
    while let Some(row) = rows.next()? {
        if epochs.lineage.0.is_empty() {
            epochs.began = row.get(2)?;
        }
        let first = Position::new(row.get::<_, i64>(1)?.cast_unsigned());
        let first = first.ok_or_else(|| Failure::corrupt(0, "an epoch begins at position 0"))?;
        epochs.lineage.0.push(Epoch { id: EpochId(Uuid::from_bytes(row.get(0)?)), first });
    }
    Ok(epochs)
}

/// One state of the log.
pub(super) struct View<'a> {
    pub(super) connection: &'a Connection,
    names: NamesByNumber<'a>,
    buffers: &'a mut Buffers,
    pub(super) epochs: Epochs,
}

impl View<'_> {
    pub(super) fn head(&mut self) -> Result<Head> {
        let epoch = self.epochs.lineage.current().ok_or_else(|| Failure::corrupt(0, "the lineage is empty"))?.id;
        let last = self.last()?;
        let position = last.as_ref().map(|event| event.position);
        Ok(Head { position, hash: last.map_or(Hash::default(), |event| event.hash), epoch })
    }

    pub(super) fn last(&mut self) -> Result<Option<StoredEvent>> {
        let mut statement = self.connection.prepare_cached(LAST)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        row::decode(row, &mut self.names, &self.epochs, self.buffers).map(Some)
    }

    /// About `left` events follow on `after`.
    pub(super) fn read(
        &mut self,
        after: Option<Position>,
        limit: ReadLimit,
        left: u64,
    ) -> Result<Vec<Arc<StoredEvent>>> {
        let mut statement = self.connection.prepare_cached(AFTER)?;
        let most = i64::try_from(limit.events_max.max(1)).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![number(Position::count(after)), most])?;
        // Grown step by step, a long one would be copied as often.
        let expected_len = usize::try_from(left).unwrap_or(usize::MAX).min(limit.events_max).min(CAPACITY_MAX);
        let mut events = Vec::with_capacity(expected_len);
        let mut expected = Position::after(after);
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let event = row::decode(row, &mut self.names, &self.epochs, self.buffers)?;
            if event.position != expected {
                return Err(Failure::corrupt(expected.get(), "the position is missing"));
            }
            expected = expected.next();
            bytes += event.payload.len();
            events.push(Arc::new(event));
            if bytes >= limit.bytes_max {
                break;
            }
        }
        Ok(events)
    }

    /// `behind` says where the stream stands if the table of streams does not; asked for before this state of the log was.
    pub(super) fn load(&mut self, load: &Load, behind: Option<Stream>, limit: ReadLimit) -> Result<Loaded> {
        let Some(stream) = self.find_stream(&load.stream, behind)? else {
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
        behind: Option<Stream>,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredEvent>> {
        let Some(stream) = self.find_stream(id, behind)? else { return Ok(Vec::new()) };
        self.names.know_stream(stream.number, id);
        self.stream_events(&stream, after, limit)
    }

    fn find_stream(&self, id: &StreamId, behind: Option<Stream>) -> Result<Option<Stream>> {
        if behind.is_some() {
            return Ok(behind);
        }
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
            (Some(version), Some(last)) => Ok(Some(Stream { number, version, last })),
            _ => Err(Failure::corrupt(0, format!("stream {id} has version {version} at position {last}"))),
        }
    }

    /// A snapshot is a hint: one that is damaged, of another shape, or ahead of its stream is as good as none.
    fn find_snapshot(&self, stream: &Stream, load: &Load) -> Result<Option<Snapshot>> {
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

    fn stream_events(
        &mut self,
        stream: &Stream,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredEvent>> {
        let after = StreamVersion::count(after);
        let wanted = stream.version.get().saturating_sub(after);
        if wanted <= SHORT && wanted <= limit.events_max as u64 {
            return self.short_stream(stream, after, limit);
        }
        // Backward to learn the positions, then forward, so that no more is held in memory than the limits allow.
        let positions = self.stream_positions(stream, after, limit.events_max.max(1))?;
        let mut events = Vec::with_capacity(positions.len());
        let mut bytes = 0;
        for position in positions.into_iter().rev() {
            let event = self.event_at(position)?.0;
            bytes += event.payload.len();
            events.push(event);
            if bytes >= limit.bytes_max {
                break;
            }
        }
        Ok(events)
    }

    /// Most streams are short: one look at each event is enough.
    fn short_stream(&mut self, stream: &Stream, after: u64, limit: ReadLimit) -> Result<Vec<StoredEvent>> {
        let mut events = Vec::with_capacity((stream.version.get().saturating_sub(after)) as usize);
        let (mut version, mut position) = (stream.version.get(), Some(number(stream.last.get())));
        while version > after {
            let at = position.ok_or_else(|| Failure::corrupt(0, format!("a stream ends before version {version}")))?;
            let (event, place) = self.event_at(at)?;
            let previous = place.previous_if(stream.number, version, at)?;
            events.push(event);
            (version, position) = (version - 1, previous);
        }
        events.reverse();
        let mut bytes = 0;
        let within = events.iter().take_while(|event| {
            let goes_on = bytes < limit.bytes_max;
            bytes += event.payload.len();
            goes_on
        });
        let kept = within.count().max(1);
        events.truncate(kept);
        Ok(events)
    }

    /// Positions of the `most` versions after `after`, newest first.
    fn stream_positions(&self, stream: &Stream, after: u64, most: usize) -> Result<Vec<i64>> {
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
            self.connection.prepare_cached("SELECT stream, version, back FROM events WHERE position = ?1")?;
        let mut positions = Vec::with_capacity((newest - after) as usize);
        loop {
            let place: Option<Link> = step.query_row([position], |row| Link::decode(row, [0, 1, 2])).optional()?;
            let previous = place.ok_or_else(|| missing(position))?.previous_if(stream.number, version, position)?;
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

    fn event_at(&mut self, position: i64) -> Result<(StoredEvent, Link)> {
        let mut statement = self.connection.prepare_cached(BY_POSITION)?;
        let mut rows = statement.query([position])?;
        let Some(row) = rows.next()? else { return Err(missing(position)) };
        let event = row::decode(row, &mut self.names, &self.epochs, self.buffers)?;
        Ok((event, Link::decode(row, [1, 2, 3])?))
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

/// How an event hangs in its stream.
struct Link {
    stream: i64,
    version: i64,
    /// How many positions back the stream's previous event is.
    back: Option<i64>,
}

impl Link {
    fn decode(row: &Row<'_>, [stream, version, back]: [usize; 3]) -> rusqlite::Result<Self> {
        Ok(Self { stream: row.get(stream)?, version: row.get(version)?, back: row.get(back)? })
    }

    /// Position of the stream's previous event, once this one, at `position`, is seen to be the stream's of `version`.
    fn previous_if(&self, stream: i64, version: u64, position: i64) -> Result<Option<i64>> {
        let damaged = |found: &str| Failure::corrupt(position.cast_unsigned(), found);
        if (self.stream, self.version) != (stream, number(version)) {
            return Err(damaged(&format!("it is not version {version} of its stream")));
        }
        match self.back {
            // Only ever backward: no damage can make this a circle.
            Some(back) if back <= 0 || back >= position => Err(damaged("its stream leads out of the log")),
            back => Ok(back.map(|back| position - back)),
        }
    }
}
