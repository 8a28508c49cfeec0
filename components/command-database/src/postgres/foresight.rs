//! What a batch comes to if nobody has written since this process wrote the end of the log, and nobody in it loses.
//!
//! The server compares the end of the log with the one that is known here, by its hash. Where they are one, no event has been
//! written since, streams stand where they were left, and rows that were made here are the rows that the server would make.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::{EpochId, Hash, Position, StoredEvent, StreamId, StreamVersion};

use super::{
    batch::{self, Batch, RecordColumns},
    row::{self, number},
};
use crate::{
    Append, Outcome,
    chain::{self, Digested, Prepared},
    recent::{self, Place, Recent},
};

/// Streams that are kept in mind; beyond that it starts over.
const STREAMS_MAX: usize = 65_536;

/// What this process knows of the log without asking.
pub(super) struct Memory {
    end: Option<End>,
    recent: Recent,
    /// Changes when something has happened after which another process may have written, or another server answers.
    age: u64,
}

/// The end of the log as this process has written it.
pub(super) struct End {
    pub(super) position: i64,
    pub(super) hash: Hash,
    /// In microseconds since 1970.
    pub(super) recorded_at: i64,
    pub(super) epoch: EpochId,
    /// The greatest number that a stream has.
    pub(super) last_stream: i64,
    /// Streams that it has written to since, without anybody else in between.
    streams: HashMap<StreamId, Stream>,
}

#[derive(Clone, Copy)]
struct Stream {
    number: i64,
    version: i64,
}

impl End {
    pub(super) fn new(position: i64, hash: Hash, recorded_at: i64, epoch: EpochId, last_stream: i64) -> Self {
        Self { position, hash, recorded_at, epoch, last_stream, streams: HashMap::new() }
    }
}

/// The end that an append goes out from. While it is under way nobody knows where the log ends.
pub(super) struct Known {
    end: Option<End>,
    age: u64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { end: None, recent: Recent::new(), age: 0 }
    }

    /// Another server may answer from now on.
    pub(super) fn forget(&mut self) {
        self.age += 1;
        self.end = None;
        self.recent.clear();
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// For an append; what becomes of it is to be told, or nothing is known any more.
    pub(super) fn take(&mut self) -> Known {
        Known { end: self.end.take(), age: self.age }
    }

    /// What was foreseen is written.
    pub(super) fn learn_foreseen(&mut self, known: Known, mut foreseen: Foreseen, sent: &Sent<'_>) {
        let events = std::mem::take(&mut foreseen.events);
        let age = known.age;
        if let Some(end) = known.then(&foreseen, sent) {
            self.learn(Known { end: None, age }, end, Some(events));
        }
    }

    /// An append has written up to `end`: these events, if they came right after what was known.
    pub(super) fn learn(&mut self, known: Known, end: End, events: Option<Vec<Arc<StoredEvent>>>) {
        if self.age != known.age {
            return;
        }
        self.end = Some(end);
        match events {
            Some(events) => self.recent.push(events),
            None => self.recent.clear(),
        }
    }
}

/// What was sent to be appended.
pub(super) struct Sent<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) batch: &'a Batch<'a>,
    /// When it is recorded.
    pub(super) now: i64,
}

impl Known {
    /// The wall clock's time, but not before the log's last.
    pub(super) fn no_earlier(&self, now: i64) -> i64 {
        self.end.as_ref().map_or(now, |end| now.max(end.recorded_at))
    }

    /// `None` where it cannot be known, or where somebody is going to lose.
    pub(super) fn foresee(&self, batch: &Batch<'_>, prepared: &Prepared, now: i64) -> Option<Foreseen> {
        let end = self.end.as_ref()?;
        let mut foreseen = Foreseen::after(end, batch.streams(), prepared);
        for (command, (append, contents)) in prepared.commands().enumerate() {
            foreseen.command(end, batch, command, (append, contents), now)?;
        }
        Some(foreseen)
    }

    /// The end after what was foreseen.
    fn then(self, foreseen: &Foreseen, sent: &Sent<'_>) -> Option<End> {
        let mut end = self.end?;
        (end.position, end.hash, end.recorded_at) = (foreseen.position, foreseen.hash, sent.now);
        end.last_stream = foreseen.last_stream;
        if end.streams.len() > STREAMS_MAX {
            end.streams.clear();
        }
        for (command, append) in sent.prepared.appends().enumerate() {
            let stream = sent.batch.stream_of(command);
            if let (Some(number), version @ 1..) = (foreseen.numbers[stream], foreseen.present[stream]) {
                end.streams.insert(append.stream.clone(), Stream { number, version });
            }
        }
        Some(end)
    }
}

/// In the order of the server's parameters of these names.
#[derive(Default)]
pub(super) struct Foreseen {
    pub(super) epoch: Option<uuid::Uuid>,
    pub(super) last_hash: Option<Vec<u8>>,
    // Of the streams.
    pub(super) before: Vec<Option<i64>>,
    pub(super) numbers: Vec<Option<i64>>,
    pub(super) begins: Vec<bool>,
    // Of the commands.
    pub(super) firsts: Vec<Option<i64>>,
    pub(super) versions: Vec<i64>,
    pub(super) heads: Vec<i64>,
    pub(super) records: Vec<Option<Vec<u8>>>,
    // Of the events.
    pub(super) positions: Vec<i64>,
    pub(super) event_versions: Vec<i64>,
    pub(super) hashes: Vec<Vec<u8>>,
    pub(super) checksums: Vec<Vec<u8>>,
    /// The events as a read would return them.
    pub(super) events: Vec<Arc<StoredEvent>>,
    /// The versions of the streams after what was foreseen so far, and the end then.
    present: Vec<i64>,
    position: i64,
    hash: Hash,
    last_stream: i64,
}

impl Foreseen {
    fn after(end: &End, streams: usize, prepared: &Prepared) -> Self {
        let (commands, events) = (prepared.len(), prepared.events());
        Self {
            epoch: Some(end.epoch.0),
            last_hash: Some(end.hash.0.to_vec()),
            before: vec![None; streams],
            numbers: vec![None; streams],
            begins: vec![false; streams],
            firsts: Vec::with_capacity(commands),
            versions: Vec::with_capacity(commands),
            heads: Vec::with_capacity(commands),
            records: Vec::with_capacity(commands),
            positions: Vec::with_capacity(events),
            event_versions: Vec::with_capacity(events),
            hashes: Vec::with_capacity(events),
            checksums: Vec::with_capacity(events),
            events: Vec::with_capacity(events),
            present: vec![0; streams],
            position: end.position,
            hash: end.hash,
            last_stream: end.last_stream,
        }
    }

    fn command(
        &mut self,
        end: &End,
        batch: &Batch<'_>,
        command: usize,
        (append, contents): (&Append, &[Digested]),
        now: i64,
    ) -> Option<()> {
        let stream = batch.stream_of(command);
        let expected = batch.expected_of(command);
        if self.before[stream].is_none() {
            let known = end.streams.get(&append.stream);
            let version = known.map(|known| known.version).or(expected)?;
            self.before[stream] = Some(version);
            self.present[stream] = version;
            self.numbers[stream] = known.map(|known| known.number);
        }
        if batch.repeats_a_key(command) || expected.is_some_and(|expected| expected != self.present[stream]) {
            return None;
        }
        self.firsts.push((!contents.is_empty()).then_some(self.position + 1));
        if self.present[stream] == 0 && !contents.is_empty() {
            self.last_stream += 1;
            self.numbers[stream] = Some(self.last_stream);
            self.begins[stream] = true;
        }
        for (index, content) in contents.iter().enumerate() {
            self.event(end.epoch, (append, index), content, stream, now)?;
        }
        self.versions.push(self.present[stream]);
        self.heads.push(self.position);
        self.records.push(append.idempotency.as_ref().map(|idempotency| {
            let columns = RecordColumns {
                first: self.firsts.last().copied().flatten(),
                events: contents.len() as i32,
                version: Some(self.present[stream]),
                head: Some(self.position),
                refusal: batch::refusal(append),
            };
            columns.checksum(&idempotency.key, &idempotency.fingerprint, append.command_id).to_vec()
        }));
        Some(())
    }

    fn event(
        &mut self,
        epoch: EpochId,
        (append, index): (&Append, usize),
        content: &Digested,
        stream: usize,
        recorded_at: i64,
    ) -> Option<()> {
        self.position += 1;
        self.present[stream] += 1;
        let position = Position::new(self.position.cast_unsigned())?;
        let version = StreamVersion::new(self.present[stream].cast_unsigned())?;
        self.hash = chain::chain(&self.hash, epoch, position, version, recorded_at, &content.digest);
        let place = Place { position, version, recorded_at, epoch, hash: self.hash };
        let event = recent::stored(append, index, place).ok()?;
        self.checksums.push(row::checksum(content.checksum, &event).to_vec());
        self.hashes.push(self.hash.0.to_vec());
        self.positions.push(self.position);
        self.event_versions.push(number(version.get()));
        self.events.push(Arc::new(event));
        Some(())
    }

    /// What each command came to.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let position = |counted: i64| Position::new(counted.cast_unsigned());
        let epoch = EpochId(self.epoch.unwrap_or_default());
        let commands = self.firsts.iter().zip(&self.versions).zip(&self.heads);
        let outcome = |((first, version), head): ((&Option<i64>, &i64), &i64)| Outcome::Committed {
            first: first.and_then(position),
            version: StreamVersion::new(version.cast_unsigned()),
            head: position(*head),
            epoch,
        };
        commands.map(outcome).collect()
    }
}
