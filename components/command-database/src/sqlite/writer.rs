//! The one connection that writes.

use std::{sync::Arc, time::Duration};

use foldhash::{HashMap, HashMapExt};
use model::{EpochId, Hash, Position, StoredEvent, StreamId, StreamVersion};
use parking_lot::Mutex;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    MARK_EVERY,
    clock::Clock,
    failure::{Failure, Result},
    idempotency,
    names::{NumbersByName, remember},
    row::{self, Numbers, Place, number},
    stream_index::{Stream, StreamIndex},
    wal::Wal,
};
use crate::{
    Append, Decision, ExpectedVersion, IdempotencyRecord, Outcome, Snapshot, StoredDecision,
    chain::{Digested, Prepared},
    recent,
};

/// What the writer knows of the log without asking. A copy of it goes through each transaction and becomes this one only
/// when the transaction is committed: nothing has to be undone.
#[derive(Clone, Copy)]
pub(super) struct Tail {
    pub(super) head: Option<Position>,
    hash: Hash,
    recorded_at: i64,
    pub(super) epoch: EpochId,
    /// When the first epoch began: what times are stored relative to.
    began: i64,
    /// The greatest number that a stream has.
    streams: i64,
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) tail: Tail,
    names: NumbersByName,
    /// Where streams stand, after what a transaction under way has written.
    streams: HashMap<StreamId, Stream>,
    /// What is committed of them and not in `streams`, also for those who read.
    index: Arc<Mutex<StreamIndex>>,
    pub(super) clock: Clock,
    pub(super) lease: super::relay::Lease,
    pub(super) wal: Wal,
    /// A hint is being written, or was when its job ended by a panic: commits are not synced.
    is_unsynced: bool,
}

/// What a batch came to.
pub(super) struct Appended {
    pub(super) outcomes: Vec<Outcome>,
    /// The events as a read would return them from now on, in order.
    pub(super) events: Vec<Arc<StoredEvent>>,
}

/// What a batch comes to once it is committed.
pub(super) struct Written {
    pub(super) appended: Appended,
    /// Whether there is anything to commit.
    wrote: bool,
    pub(super) tail: Tail,
    /// The streams that it moves on, some more than once.
    pub(super) moved: Vec<(StreamId, Stream)>,
}

/// Where an append failed: before the commit everything can be undone, in it nothing is known.
pub(super) enum AppendFailure {
    Write(Failure),
    Commit(Failure),
}

impl Writer {
    pub(super) fn open(connection: Connection, wal: Wal, now: Duration) -> Result<Self> {
        let tail = read_tail(&connection)?;
        let clock = Clock::read(&connection, now)?;
        let names = NumbersByName::default();
        let index = Arc::new(Mutex::new(StreamIndex::recover(&connection, tail.head)?));
        let streams = HashMap::new();
        Ok(Self { connection, tail, names, streams, index, clock, lease: None, wal, is_unsynced: false })
    }

    /// The streams that the table lags behind on.
    pub(super) fn index(&self) -> Arc<Mutex<StreamIndex>> {
        self.index.clone()
    }

    /// Everything of the batch in one durable commit. `recorded_at` in microseconds.
    pub(super) fn append(
        &mut self,
        batch: &[Prepared],
        recorded_at: i64,
        now: Duration,
    ) -> std::result::Result<Appended, AppendFailure> {
        let written = self.sync_again().and_then(|()| self.begin()).and_then(|()| self.write(batch, recorded_at, now));
        let Written { appended, wrote, tail, moved } = match written {
            Ok(written) => written,
            Err(failure) => return Err(self.roll_back(AppendFailure::Write(failure))),
        };
        if !wrote {
            // Nothing to make durable, so nobody waits for the disk.
            return match self.connection.execute_batch("ROLLBACK") {
                Ok(()) => Ok(appended),
                Err(error) => Err(self.roll_back(AppendFailure::Write(error.into()))),
            };
        }
        if let Err(error) = self.commit() {
            return Err(self.roll_back(AppendFailure::Commit(error)));
        }
        self.tail = tail;
        self.index.lock().moved(moved);
        Ok(appended)
    }

    /// Brings the table of streams on by a step. A hint in that nobody waits for the disk: what a power cut takes back of it is
    /// found again by the events.
    pub(super) fn write_index(&mut self) -> Result<()> {
        self.hint(|writer| {
            writer.begin()?;
            let step = writer.index.lock().step(writer.tail.head, writer.tail.streams);
            let Self { connection, names, .. } = writer;
            if let Err(failure) =
                step.write(connection, |id| names.find_category(connection, id)).and_then(|()| writer.commit())
            {
                writer.index.lock().give_up();
                writer.undo()?;
                return Err(failure);
            }
            for (id, stream) in writer.index.lock().stepped(step) {
                remember(&mut writer.streams, id, stream);
            }
            Ok(())
        })
    }

    /// Brings the table of streams on to the log's end.
    pub(super) fn finish_index(&mut self) -> Result<()> {
        while self.index.lock().is_behind() {
            self.write_index()?;
        }
        Ok(())
    }

    pub(super) fn commit(&self) -> Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        if !self.connection.is_autocommit() {
            // A job that panicked left its transaction open.
            self.undo()?;
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        // Caches are hints, the log decides: another process may have written since.
        if read_head(&self.connection)? != self.tail.head {
            self.forget();
            self.tail = read_tail(&self.connection)?;
            *self.index.lock() = StreamIndex::recover(&self.connection, self.tail.head)?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.names.clear();
        self.streams.clear();
    }

    fn undo(&mut self) -> Result<()> {
        self.forget();
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    pub(super) fn roll_back(&mut self, failure: AppendFailure) -> AppendFailure {
        match self.undo() {
            Ok(()) => failure,
            // It can be neither committed nor undone.
            Err(worse) => AppendFailure::Commit(worse),
        }
    }

    /// Within a transaction that its caller commits.
    pub(super) fn write(&mut self, batch: &[Prepared], recorded_at: i64, now: Duration) -> Result<Written> {
        let Self { connection, names, streams, index, clock, tail, .. } = self;
        if streams.len() >= STREAMS_MAX {
            // Not within a transaction: what it writes is known here alone.
            streams.clear();
        }
        let mut tail = *tail;
        tail.recorded_at = tail.recorded_at.max(recorded_at);
        let mut batch_write = BatchWrite {
            connection,
            event: connection.prepare_cached(row::INSERT)?,
            new_stream: connection.prepare_cached("INSERT INTO new_streams VALUES (?1, ?2, ?3)")?,
            names,
            streams,
            index,
            moved: Vec::with_capacity(batch.iter().map(Prepared::len).sum()),
            tail,
            elapsed: clock.seconds(now),
            wrote: false,
            written: Vec::with_capacity(batch.iter().map(Prepared::events).sum()),
            lost: Vec::new(),
        };
        let mut outcomes = Vec::with_capacity(batch_write.moved.capacity());
        for (append, contents) in batch.iter().flat_map(Prepared::commands) {
            outcomes.push(batch_write.command(append, contents)?);
        }
        let BatchWrite { wrote, tail, moved, written: events, .. } = batch_write;
        if wrote {
            clock.keep_roughly(connection, now)?;
        }
        Ok(Written { appended: Appended { outcomes, events }, wrote, tail, moved })
    }

    /// Keeps a hint: a transaction of its own whose loss in a power cut costs nothing, so nobody waits for the disk.
    /// The next append's commit makes it durable too.
    pub(super) fn hint<T>(&mut self, write: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if !self.connection.is_autocommit() {
            self.undo()?;
        }
        self.is_unsynced = true;
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let written = write(self);
        // Before anything else, for the appends that follow.
        self.sync_again()?;
        written
    }

    /// Makes commits wait for the disk, if a hint before did not.
    pub(super) fn sync_again(&mut self) -> Result<()> {
        if self.is_unsynced {
            self.connection.pragma_update(None, "synchronous", "FULL")?;
            self.is_unsynced = false;
        }
        Ok(())
    }

    pub(super) fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Self { connection, names, streams, index, .. } = self;
        // Never one ahead of its stream, and never an older one in place of a newer one of the same shape.
        let stream = find_stream(connection, names, streams, index, &snapshot.stream)?;
        let Some(stream) = stream.filter(|stream| stream.version >= snapshot.version) else { return Ok(()) };
        let mut statement = connection.prepare_cached(
            "INSERT INTO snapshots (stream, version, checksum, state_shape, state) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (stream) DO UPDATE SET version = excluded.version, checksum = excluded.checksum,
                 state_shape = excluded.state_shape, state = excluded.state
             WHERE excluded.version >= version OR excluded.state_shape <> state_shape",
        )?;
        statement.execute(params![
            stream.number,
            number(snapshot.version.get()),
            snapshot_checksum(snapshot.version, &snapshot.state_shape, &snapshot.state),
            snapshot.state_shape.0,
            &snapshot.state[..],
        ])?;
        Ok(())
    }
}

/// Streams that are kept in mind; beyond that it starts over.
const STREAMS_MAX: usize = 65_536;

/// Where a stream stands; `None` where there is none of that name.
fn find_stream(
    connection: &Connection,
    names: &mut NumbersByName,
    streams: &mut HashMap<StreamId, Stream>,
    index: &Mutex<StreamIndex>,
    id: &StreamId,
) -> Result<Option<Stream>> {
    if let Some(stream) = streams.get(id) {
        return Ok(Some(*stream));
    }
    if let Some(stream) = index.lock().find(id) {
        streams.insert(id.clone(), stream);
        return Ok(Some(stream));
    }
    let Some(category) = names.find_category(connection, id)? else { return Ok(None) };
    let mut statement = connection
        .prepare_cached("SELECT stream, version, last_position FROM streams WHERE category = ?1 AND id = ?2")?;
    let row: Option<(i64, i64, i64)> =
        statement.query_row(params![category, id.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let Some((number, version, last)) = row else { return Ok(None) };
    let (Some(version), Some(last)) =
        (StreamVersion::new(version.cast_unsigned()), Position::new(last.cast_unsigned()))
    else {
        return Err(Failure::corrupt(0, format!("stream {id} has version {version} at position {last}")));
    };
    let stream = Stream { number, version, last };
    streams.insert(id.clone(), stream);
    Ok(Some(stream))
}

pub(super) fn snapshot_checksum(version: StreamVersion, shape: &Hash, state: &[u8]) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.get().to_be_bytes());
    hasher.update(&shape.0);
    hasher.update(state);
    hasher.finalize().cast_signed()
}

fn read_head(connection: &Connection) -> Result<Option<Position>> {
    let head: Option<i64> =
        connection.prepare_cached("SELECT max(position) FROM events")?.query_row([], |row| row.get(0))?;
    Ok(head.and_then(|head| Position::new(head.cast_unsigned())))
}

fn read_tail(connection: &Connection) -> Result<Tail> {
    let last = connection
        .query_row("SELECT hash, recorded_at FROM events ORDER BY position DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let began: i64 = connection.query_row("SELECT began FROM lineage WHERE ordinal = 1", [], |row| row.get(0))?;
    let (hash, recorded_at) = last.map_or((Hash::default(), i64::MIN), |(hash, recorded_at): (_, i64)| {
        (Hash(hash), began.saturating_add(recorded_at))
    });
    let epoch =
        connection.query_row("SELECT epoch FROM lineage ORDER BY ordinal DESC LIMIT 1", [], |row| row.get(0))?;
    let greatest = "SELECT max(coalesce((SELECT max(stream) FROM streams), 0),
        coalesce((SELECT max(stream) FROM new_streams), 0))";
    let streams = connection.query_row(greatest, [], |row| row.get(0))?;
    Ok(Tail {
        head: read_head(connection)?,
        hash,
        recorded_at,
        epoch: EpochId(Uuid::from_bytes(epoch)),
        began,
        streams,
    })
}

/// One batch on its way into the log.
struct BatchWrite<'a> {
    connection: &'a Connection,
    event: CachedStatement<'a>,
    new_stream: CachedStatement<'a>,
    names: &'a mut NumbersByName,
    streams: &'a mut HashMap<StreamId, Stream>,
    index: &'a Mutex<StreamIndex>,
    moved: Vec<(StreamId, Stream)>,
    tail: Tail,
    elapsed: i64,
    wrote: bool,
    written: Vec<Arc<StoredEvent>>,
    /// Streams of which events that were to be written are not.
    lost: Vec<&'a StreamId>,
}

impl<'a> BatchWrite<'a> {
    fn command(&mut self, append: &'a Append, contents: &[Digested]) -> Result<Outcome> {
        let outcome = self.decide(append, contents)?;
        if !contents.is_empty() && !matches!(outcome, Outcome::Committed { .. }) {
            self.lost.push(&append.stream);
        }
        Ok(outcome)
    }

    /// Losers leave before anything of theirs is written.
    fn decide(&mut self, append: &Append, contents: &[Digested]) -> Result<Outcome> {
        if let Some(idempotency) = &append.idempotency
            && let Some(record) = idempotency::find(self.connection, &idempotency.key)?
        {
            let same = record.fingerprint == idempotency.fingerprint;
            return Ok(if same { Outcome::Replayed(record) } else { Outcome::KeyReused });
        }
        let stream = find_stream(self.connection, self.names, self.streams, self.index, &append.stream)?;
        let current = stream.map(|stream| stream.version);
        let is_orphan = append.expected != ExpectedVersion::Any && self.lost.contains(&&append.stream);
        if is_orphan || !append.expected.accepts(current) {
            return Ok(Outcome::VersionConflict { current });
        }
        let first = (!contents.is_empty()).then(|| Position::after(self.tail.head));
        let version = if first.is_some() { Some(self.events(append, contents, stream)?) } else { current };
        let head = self.tail.head;
        if let Some(idempotency) = append.idempotency {
            let decision = match &append.decision {
                Decision::Refused(reason) => StoredDecision::Refused(reason.clone()),
                Decision::Accepted(events) => {
                    StoredDecision::Accepted { first, events: events.len() as u32, version, head }
                }
            };
            let fingerprint = idempotency.fingerprint;
            let record = IdempotencyRecord { fingerprint, command_id: append.command_id, decision };
            idempotency::insert(self.connection, &idempotency.key, &record, self.elapsed)?;
            self.wrote = true;
        }
        Ok(Outcome::Committed { first, version, head, epoch: self.tail.epoch })
    }

    /// Writes a command's events and moves its stream. Returns the stream's version after them.
    fn events(&mut self, append: &Append, contents: &[Digested], before: Option<Stream>) -> Result<StreamVersion> {
        let principal = self.names.principal(self.connection, &append.metadata.principal)?;
        let stream = before.map_or(self.tail.streams + 1, |stream| stream.number);
        let mut version = before.map(|stream| stream.version);
        let mut previous = before.map(|stream| stream.last);
        for (index, event) in append.events().iter().enumerate() {
            let event_type = self.names.event_type(self.connection, &event.event_type)?;
            let place = Place {
                position: Position::after(self.tail.head),
                version: StreamVersion::after(version),
                previous,
                recorded_at: self.tail.recorded_at,
            };
            let hash = crate::chain::chain(
                &self.tail.hash,
                self.tail.epoch,
                place.position,
                place.version,
                place.recorded_at,
                &contents[index].digest,
            );
            let numbers = Numbers { began: self.tail.began, stream, event_type, principal };
            row::insert(&mut self.event, (append, contents), index, &place, numbers, &hash)?;
            if place.version.get().is_multiple_of(MARK_EVERY) {
                self.mark(stream, &place)?;
            }
            self.written.push(Arc::new(self.stored(append, index, &place, hash)?));
            (self.tail.head, self.tail.hash) = (Some(place.position), hash);
            (version, previous) = (Some(place.version), Some(place.position));
        }
        self.wrote = true;
        let after = Stream {
            number: stream,
            version: StreamVersion::FIRST.plus(StreamVersion::count(version) - 1),
            last: Position::FIRST.plus(Position::count(previous) - 1),
        };
        self.move_stream(&append.stream, before.is_none(), after)?;
        Ok(after.version)
    }

    fn stored(&self, append: &Append, index: usize, place: &Place, hash: Hash) -> Result<StoredEvent> {
        let Place { position, version, recorded_at, .. } = *place;
        let place = recent::Place { position, version, recorded_at, epoch: self.tail.epoch, hash };
        recent::stored(append, index, place).map_err(|_| Failure::corrupt(position.get(), "a time is out of range"))
    }

    fn mark(&self, stream: i64, place: &Place) -> Result<()> {
        let mut statement = self.connection.prepare_cached("INSERT INTO stream_marks VALUES (?1, ?2, ?3)")?;
        statement.execute(params![stream, number(place.version.get()), number(place.position.get())])?;
        Ok(())
    }

    fn move_stream(&mut self, id: &StreamId, is_new: bool, stream: Stream) -> Result<()> {
        if is_new {
            let category = match self.names.find_category(self.connection, id)? {
                Some(category) => category,
                None => self.names.add_category(self.connection, id)?,
            };
            self.new_stream.execute(params![stream.number, category, id.id])?;
            self.tail.streams = stream.number;
        }
        self.moved.push((id.clone(), stream));
        self.streams.insert(id.clone(), stream);
        Ok(())
    }
}
