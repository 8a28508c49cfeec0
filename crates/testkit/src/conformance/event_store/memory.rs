//! The contract at its smallest: a log in memory. The model that real stores are compared with, and, given a [`Flaw`], what
//! shows that each promise is really checked.

mod writer;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use command_database::{
    Append, Error, EventStore, Head, IdempotencyRecord, Load, Loaded, Outcome, ReadLimit, RelayLease, Snapshot,
};
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use model::{Epoch, EpochId, Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use runtime::Runtime;
use uuid::Uuid;

use self::writer::Writer;
use super::{Place, broken::Flaw};

/// The disks of a test: logs by the directory they would be in, so that one can be opened again.
#[derive(Clone, Default)]
pub struct Disks(Arc<Mutex<BTreeMap<PathBuf, Disk>>>);

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Log>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Default)]
struct Log {
    events: Vec<StoredEvent>,
    positions_used: u64,
    keys: BTreeMap<Hash, (IdempotencyRecord, Duration)>,
    snapshots: BTreeMap<StreamId, Snapshot>,
    lineage: Lineage,
    token: u64,
    lease: Option<(Uuid, Duration)>,
    cursor: Option<Position>,
}

/// A log in memory.
pub struct MemoryEventStore {
    runtime: Runtime,
    disk: Disk,
    flaw: Option<Flaw>,
    /// What a flawed one still owes to its disk.
    owed: Mutex<Owed>,
}

#[derive(Default)]
struct Owed {
    log: Option<Log>,
    keys: Vec<(Hash, (IdempotencyRecord, Duration))>,
}

impl MemoryEventStore {
    /// Opens what `disks` have at `place`; with a `flaw`, so that one promise is broken.
    #[must_use]
    pub fn open(disks: &Disks, place: &Place, flaw: Option<Flaw>) -> Self {
        let disk = locked(&disks.0).entry(place.directory.clone()).or_default().clone();
        {
            let mut log = locked(&disk.0);
            if log.lineage.0.is_empty() || flaw == Some(Flaw::StartsAnEpochAtEachOpening) {
                let first = Position::FIRST.plus(log.events.len() as u64);
                log.lineage.0.push(Epoch { id: EpochId(place.runtime.uuid()), first });
            }
            if flaw == Some(Flaw::StartsAgainAtPositionOne) {
                log.positions_used = 0;
            }
        }
        Self { runtime: place.runtime.clone(), disk, flaw, owed: Mutex::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The log, with everything written that was owed to it.
    fn log(&self) -> MutexGuard<'_, Log> {
        let mut log = locked(&self.disk.0);
        let owed = std::mem::take(&mut *locked(&self.owed));
        if let Some(owed) = owed.log {
            *log = owed;
        }
        log.keys.extend(owed.keys);
        log
    }

    fn append_now(&self, batch: &[Append]) -> Vec<Outcome> {
        let mut guard = self.log();
        let mut log = guard.clone();
        let before = log.clone();
        let mut writer = Writer::new(self, &before, &mut log);
        let mut outcomes: Vec<_> = batch.iter().map(|append| writer.command(append)).collect();
        let is_lost = |outcome: &Outcome| matches!(outcome, Outcome::VersionConflict { current: None });
        if self.has(Flaw::FailsNeighbours) && outcomes.iter().any(is_lost) {
            outcomes.fill(Outcome::VersionConflict { current: None });
            return outcomes;
        }
        if self.has(Flaw::TellsTheBatchsHead) {
            let last = log.head();
            for outcome in &mut outcomes {
                if let Outcome::Committed { head, .. } = outcome {
                    *head = last;
                }
            }
        }
        if self.has(Flaw::WritesKeysLater) {
            let is_new = |key: &Hash| !before.keys.contains_key(key);
            let (new, old) = std::mem::take(&mut log.keys).into_iter().partition(|(key, _)| is_new(key));
            log.keys = old;
            locked(&self.owed).keys = BTreeMap::into_iter(new).collect();
        }
        if self.has(Flaw::AcknowledgesBeforeTheCommit) {
            locked(&self.owed).log = Some(log);
        } else {
            *guard = log;
        }
        outcomes
    }
}

impl Drop for MemoryEventStore {
    fn drop(&mut self) {
        let mut log = self.log();
        if self.has(Flaw::LosesItsTail) && log.events.len() == 3 {
            log.events.pop();
        }
        if self.has(Flaw::KeepsKeysInMemory) {
            log.keys.clear();
        }
    }
}

impl Log {
    fn head(&self) -> Option<Position> {
        self.events.last().map(|event| event.position)
    }

    fn epoch(&self) -> EpochId {
        self.lineage.current().map_or(EpochId(Uuid::nil()), |epoch| epoch.id)
    }

    fn version(&self, stream: &StreamId) -> Option<StreamVersion> {
        self.stream(stream).next_back().map(|event| event.version)
    }

    fn stream(&self, stream: &StreamId) -> impl DoubleEndedIterator<Item = &StoredEvent> {
        self.events.iter().filter(move |event| event.stream == *stream)
    }
}

/// As many of `events` as the limit lets through.
fn limited<'a>(events: impl Iterator<Item = &'a StoredEvent>, limit: ReadLimit) -> Vec<StoredEvent> {
    let mut bytes = 0;
    let within = |event: &&StoredEvent| {
        let goes_on = bytes < limit.bytes_max;
        bytes += event.payload.len();
        goes_on
    };
    let mut events = events.peekable();
    let first: Vec<_> = events.next_if(|_| limit.bytes_max == 0).cloned().into_iter().collect();
    if !first.is_empty() {
        return first;
    }
    events.take(limit.events_max.max(1)).take_while(within).cloned().collect()
}

type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

fn answer<T: Send + 'static>(value: T) -> Answer<'static, T> {
    Box::pin(ready(Ok(value)))
}

impl EventStore for MemoryEventStore {
    fn append(&self, batch: Vec<Append>) -> Answer<'_, Vec<Outcome>> {
        answer(self.append_now(&batch))
    }

    fn read(&self, after: Option<Position>, mut limit: ReadLimit) -> Answer<'_, Vec<Arc<StoredEvent>>> {
        let log = self.log();
        if self.has(Flaw::ReadsWithoutLimitOfBytes) {
            limit.bytes_max = usize::MAX;
        }
        if self.has(Flaw::ReadsOneTooMany) && limit.events_max == 3 {
            limit.events_max += 1;
        }
        let mut events = limited(log.events.iter().filter(|event| Some(event.position) > after), limit);
        if self.has(Flaw::MissesTheLastEvent)
            && after.is_some()
            && log.head() == events.last().map(|last| last.position)
        {
            events.pop();
        }
        answer(events.into_iter().map(Arc::new).collect())
    }

    fn load(&self, streams: Vec<Load>, limit: ReadLimit) -> Answer<'_, Vec<Loaded>> {
        let log = self.log();
        let load = |load: &Load| {
            let version = log.version(&load.stream);
            let fits = |snapshot: &&Snapshot| {
                let shape = snapshot.state_shape == load.state_shape || self.has(Flaw::LoadsOtherShapes);
                shape && (Some(snapshot.version) <= version || self.has(Flaw::LoadsFromTheFuture))
            };
            let snapshot = log.snapshots.get(&load.stream).filter(fits).cloned();
            let after = snapshot.as_ref().map(|snapshot| snapshot.version);
            let after = after.filter(|_| !self.has(Flaw::LoadsWhatTheSnapshotHas));
            let events = log.stream(&load.stream).filter(|event| Some(event.version) > after);
            Loaded { snapshot, events: limited(events, limit), version }
        };
        let mut loaded: Vec<_> = streams.iter().map(load).collect();
        if self.has(Flaw::LoadsInAnotherOrder) {
            loaded.reverse();
        }
        answer(loaded)
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> Answer<'_, Vec<StoredEvent>> {
        let log = self.log();
        let mut events = limited(log.stream(&stream).filter(|event| Some(event.version) > after), limit);
        if self.has(Flaw::ReadsStreamsBackward) && after.is_some() && events.len() < 5 {
            events.reverse();
        }
        if self.has(Flaw::MissesPiecesOfLongStreams) && events.len() > 250 {
            events.pop();
        }
        answer(events)
    }

    fn head(&self) -> Answer<'_, Head> {
        let log = self.log();
        let events = if self.has(Flaw::TellsAnOldHead) {
            log.events.split_last().map_or(&[][..], |(_, rest)| rest)
        } else {
            &log.events
        };
        let last = events.last();
        let hash = last.map_or(Hash::default(), |event| event.hash);
        answer(Head { position: last.map(|event| event.position), hash, epoch: log.epoch() })
    }

    fn lineage(&self) -> Answer<'_, Lineage> {
        answer(self.log().lineage.clone())
    }

    fn idempotency(&self, key: Hash) -> Answer<'_, Option<IdempotencyRecord>> {
        // Without paying what is owed: who looks for a key reminds nobody.
        answer(locked(&self.disk.0).keys.get(&key).map(|(record, _)| record.clone()))
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> Answer<'_, ()> {
        let mut log = self.log();
        let is_older =
            |stored: &Snapshot| stored.version > snapshot.version && stored.state_shape == snapshot.state_shape;
        if self.has(Flaw::ReplacesNewerSnapshots) || !log.snapshots.get(&snapshot.stream).is_some_and(is_older) {
            log.snapshots.insert(snapshot.stream.clone(), snapshot);
        }
        answer(())
    }

    fn lease_relay(&self, holder: Uuid, ttl: Duration) -> Answer<'_, Option<RelayLease>> {
        let mut log = self.log();
        let now = self.runtime.now();
        let lease = log.lease.filter(|(_, until)| now < *until || self.has(Flaw::NeverEndsALease));
        match lease {
            Some((present, _)) if present == holder => {}
            Some(_) if !self.has(Flaw::LeasesTwice) => return answer(None),
            _ => log.token += 1,
        }
        log.lease = Some((holder, now + ttl));
        let cursor = log.cursor.filter(|_| !self.has(Flaw::ForgetsTheCursor));
        answer(Some(RelayLease { token: log.token, cursor }))
    }

    fn store_relay_cursor(&self, token: u64, cursor: Position) -> Answer<'_, bool> {
        let mut log = self.log();
        let is_holder = token == log.token || self.has(Flaw::BelievesFormerHolders);
        if is_holder {
            log.cursor = Some(cursor);
        }
        answer(is_holder)
    }

    fn expire_idempotency(&self, keep: Duration) -> Answer<'_, u64> {
        let mut log = self.log();
        let keep = if self.has(Flaw::ExpiresKeysAtOnce) { Duration::ZERO } else { keep };
        let now = self.runtime.now();
        let before = log.keys.len();
        log.keys.retain(|_, (_, at)| now.saturating_sub(*at) <= keep);
        answer((before - log.keys.len()) as u64)
    }

    fn last_recorded_at(&self) -> Answer<'_, Option<Timestamp>> {
        answer(self.log().events.last().map(|event| event.recorded_at))
    }
}
