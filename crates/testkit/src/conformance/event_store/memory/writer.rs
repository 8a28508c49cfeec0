use std::collections::BTreeSet;

use command_database::{
    Append, Content, Decision, ExpectedVersion, IdempotencyRecord, Outcome, StoredDecision, chain, digest,
};
use jiff::Timestamp;
use model::{EventId, Hash, NewEvent, Position, StoredEvent, StreamId, StreamVersion, Tenant};

use super::{Log, MemoryEventStore};
use crate::conformance::event_store::broken::Flaw;

/// One batch on its way into a log in memory.
pub(super) struct Writer<'a> {
    store: &'a MemoryEventStore,
    /// The log as it was before the batch.
    before: &'a Log,
    log: &'a mut Log,
    /// Streams of which events that were to be written are not.
    lost: BTreeSet<StreamId>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(store: &'a MemoryEventStore, before: &'a Log, log: &'a mut Log) -> Self {
        Self { store, before, log, lost: BTreeSet::new() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.store.has(flaw)
    }

    pub(super) fn command(&mut self, append: &Append) -> Outcome {
        let outcome = self.decide(append);
        if !append.events().is_empty() && !matches!(outcome, Outcome::Committed { .. }) {
            self.lost.insert(self.scoped(&append.stream));
        }
        outcome
    }

    fn decide(&mut self, append: &Append) -> Outcome {
        let stream = self.scoped(&append.stream);
        let seen = if self.has(Flaw::SeesTheLogBeforeTheBatch) { self.before } else { &*self.log };
        let current = seen.version(&stream);
        let is_orphan = self.lost.contains(&stream) && !self.has(Flaw::TakesWhatALoserLeft);
        let is_expected =
            self.accepts(append.expected, current) && !(is_orphan && append.expected != ExpectedVersion::Any);
        let conflict = (!is_expected).then_some(Outcome::VersionConflict { current });
        if self.has(Flaw::ComparesVersionsBeforeKeys)
            && let Some(conflict) = conflict
        {
            return conflict;
        }
        if let Some(known) = self.known(append) {
            return known;
        }
        if let Some(conflict) = conflict {
            self.lose(append, &stream);
            return conflict;
        }
        self.write(append, stream)
    }

    fn scoped(&self, stream: &StreamId) -> StreamId {
        let tenant = if self.has(Flaw::MixesTenants) { Tenant::default() } else { stream.tenant.clone() };
        StreamId { tenant, ..stream.clone() }
    }

    fn accepts(&self, expected: ExpectedVersion, current: Option<StreamVersion>) -> bool {
        match expected {
            // A decision on an older state than the present one.
            ExpectedVersion::Exactly(version) if self.has(Flaw::AcceptsStaleDecisions) => Some(version) <= current,
            expected => expected.accepts(current),
        }
    }

    /// What is known under the command's key.
    fn known(&self, append: &Append) -> Option<Outcome> {
        let idempotency = append.idempotency?;
        let seen = if self.has(Flaw::LooksKeysUpBeforeTheBatch) { self.before } else { &*self.log };
        let (record, _) = seen.keys.get(&idempotency.key)?;
        let same = record.fingerprint == idempotency.fingerprint || self.has(Flaw::ComparesNoFingerprints);
        Some(if same { Outcome::Replayed(record.clone()) } else { Outcome::KeyReused })
    }

    /// What a flawed store does about a command that lost.
    fn lose(&mut self, append: &Append, stream: &StreamId) {
        if self.has(Flaw::LeavesGaps) {
            self.log.positions_used += 1;
        }
        if self.has(Flaw::WritesHalfOfALoser)
            && let [first, _] = append.events()
        {
            self.event(append, stream, (0, first), 2);
        }
        if self.has(Flaw::KeepsLosersKeys) {
            self.keep_key(append, None, None);
        }
    }

    fn write(&mut self, append: &Append, stream: StreamId) -> Outcome {
        let events = append.events();
        let mut first = None;
        for event in (0..).zip(events) {
            let position = self.event(append, &stream, event, events.len());
            first = first.or(Some(position));
        }
        let version = self.log.version(&stream);
        self.keep_key(append, first, version);
        let version = version.filter(|_| !(self.has(Flaw::ForgetsVersionsOfNothing) && events.is_empty()));
        Outcome::Committed { first, version, head: self.log.head(), epoch: self.log.epoch() }
    }

    fn keep_key(&mut self, append: &Append, first: Option<Position>, version: Option<StreamVersion>) {
        let Some(idempotency) = append.idempotency else { return };
        let decision = match &append.decision {
            Decision::Refused(_) if self.has(Flaw::ForgetsRefusals) => return,
            Decision::Refused(reason) => StoredDecision::Refused(reason.clone()),
            Decision::Accepted(events) if events.is_empty() && self.has(Flaw::ForgetsKeysWithoutEvents) => return,
            Decision::Accepted(events) => {
                let head = self.log.head();
                let first = first.filter(|_| !self.has(Flaw::KeepsHalfOfARecord));
                StoredDecision::Accepted { first, events: events.len() as u32, version, head }
            }
        };
        let fingerprint = idempotency.fingerprint;
        let record = IdempotencyRecord { fingerprint, command_id: append.command_id, decision };
        self.log.keys.insert(idempotency.key, (record, self.store.runtime.now()));
    }

    fn event(
        &mut self,
        append: &Append,
        stream: &StreamId,
        (index, event): (u32, &NewEvent),
        events: usize,
    ) -> Position {
        let log = &mut *self.log;
        let position = Position::FIRST.plus(log.positions_used);
        let skips = self.store.has(Flaw::SkipsPositions) && log.positions_used == 4;
        log.positions_used += if skips { 2 } else { 1 };
        let last_version = log.version(stream);
        let version = match last_version {
            Some(version) if self.store.has(Flaw::RepeatsVersions) && events == 2 && version.get() == 3 => version,
            version => StreamVersion::after(version),
        };
        let mut metadata = append.metadata.clone();
        if self.store.has(Flaw::DropsTraces) {
            metadata.tracestate = None;
        }
        let content = Content {
            event_id: EventId::derived(append.command_id, index),
            stream,
            event_type: &event.event_type,
            command_id: append.command_id,
            command_events: events as u32,
            payload: &event.payload,
            metadata: &metadata,
        };
        let recorded_at = self.recorded_at();
        let log = &mut *self.log;
        let (last, epoch) = (log.events.last(), log.epoch());
        let previous =
            last.filter(|_| !self.store.has(Flaw::HashesEachEventAlone)).map_or(Hash::default(), |last| last.hash);
        let hash = chain(&previous, epoch, position, version, recorded_at.as_microsecond(), &digest(&content));
        let stored = StoredEvent {
            position,
            epoch,
            event_id: content.event_id,
            stream: stream.clone(),
            version,
            event_type: event.event_type.clone(),
            command_id: append.command_id,
            command_events: content.command_events,
            payload: event.payload.clone(),
            metadata,
            recorded_at,
            hash,
        };
        log.events.push(stored);
        position
    }

    /// In whole microseconds, which is what the hash covers.
    fn recorded_at(&self) -> Timestamp {
        let now = self.store.runtime.wall_clock().as_microsecond();
        let last = self.log.events.last().map_or(now, |last| last.recorded_at.as_microsecond());
        let goes_back = self.has(Flaw::GoesBackInTime) && self.log.events.len() == 9;
        let at = if goes_back { last - 1 } else { now.max(last) };
        Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
