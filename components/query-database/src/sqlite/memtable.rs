//! What is committed and not yet in the file (ADR 0013).
//!
//! Commits go into memory, where whoever reads looks first, and now and then all of it goes into the file in one transaction:
//! each touched row once, in the order of keys, with the checkpoint that the rows lead to. The process that has the data
//! directory is alone with the file, so that what is here decides.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use model::{Hash, IndexKind, IndexValue, Lineage, Position, RowChange, RowKey, RowWrite};
use parking_lot::{Mutex, RwLock};

use super::{
    checkpoint::{Clock, Stored},
    layers::{Layers, Rows},
    merge::Overlay,
    table::Table,
};
use crate::{Checkpoint, Commit, CommitOutcome, Generation, HeadSeen, OwnerToken, PointRead, Row};

/// Owners are counted from 1.
const NOBODY: OwnerToken = OwnerToken(0);

/// Memory has this many times what a generation may add when it is full.
const LITTLE_OF: usize = 16;

/// The generations that are owned here.
pub(super) struct Memtable {
    /// Few, and looked through.
    entries: RwLock<Vec<Arc<Entry>>>,
    clock: Clock,
    bytes_max: usize,
}

/// One of them.
pub(super) struct Entry {
    pub(super) table: Arc<Table>,
    state: Mutex<State>,
}

struct State {
    stored: Stored,
    /// The lineage as its owner has it, once it was stored: a checkpoint's one remembers more.
    given: Option<Arc<Lineage>>,
    /// The position in the file.
    flushed: Option<Position>,
    rows: Layers,
    /// Whether there is something for the file, be it only the head.
    is_dirty: bool,
    /// The file is about to change in another way than by a flush, and memory to learn of it: until then nothing is put here.
    is_closed: bool,
}

/// What became of a commit.
pub(super) enum Put {
    /// It is in memory, or fenced.
    Done(CommitOutcome),
    /// It is to go into the file at once: it brings a lineage that is not there yet.
    Through(Commit),
    /// There is no room for it until what is here is in the file, or who owns the generation is just being changed there.
    Wait(Commit),
    /// A row that the table would not take.
    Misshapen(rusqlite::Error),
}

/// What memory says of a row.
pub(super) enum Look {
    /// It has the row, or knows that there is none.
    Found(PointRead),
    /// The file has it, if there is one, for the whole checkpoint.
    InFile(Arc<Table>, Checkpoint),
}

/// A part of a flush: what goes into the file of one generation.
pub(super) struct Part {
    pub(super) entry: Arc<Entry>,
    pub(super) owner: OwnerToken,
    pub(super) from: Option<Position>,
    pub(super) to: Option<Position>,
    pub(super) hash: Hash,
    pub(super) lineage: Arc<Lineage>,
    pub(super) head: Option<Position>,
    pub(super) seen_at: i64,
    /// Oldest first.
    pub(super) layers: Vec<Arc<Rows>>,
}

impl Part {
    /// Each row once, in the order of keys.
    pub(super) fn rows(&self) -> Vec<&RowWrite> {
        if let [one] = &*self.layers {
            return one.values().map(|row| &**row).collect();
        }
        // Newer ones come last.
        let rows: BTreeMap<_, _> = self.layers.iter().flat_map(|layer| &**layer).collect();
        rows.into_values().map(|row| &**row).collect()
    }
}

impl Memtable {
    pub(super) fn new(clock: Clock, bytes_max: usize) -> Self {
        Self { entries: RwLock::default(), clock, bytes_max }
    }

    pub(super) fn find(&self, generation: Generation) -> Option<Arc<Entry>> {
        self.entries.read().iter().find(|entry| entry.table.generation == generation).cloned()
    }

    /// Takes over what the file has. There is to be nothing here that the file has not.
    pub(super) fn load(&self, table: &Arc<Table>, stored: Stored) {
        if let Some(entry) = self.find(table.generation) {
            return entry.state.lock().load(stored);
        }
        let state = Mutex::new(State::of(stored));
        self.entries.write().push(Arc::new(Entry { table: table.clone(), state }));
    }

    /// Nobody here owns it any more: the file alone tells.
    pub(super) fn forget(&self, generation: Generation) {
        let mut entries = self.entries.write();
        let Some(place) = entries.iter().position(|entry| entry.table.generation == generation) else { return };
        // Whoever has found it and is about to put something there is fenced.
        entries.remove(place).state.lock().stored.owner = NOBODY;
    }

    /// The generations here.
    pub(super) fn owned(&self) -> Vec<Arc<Entry>> {
        self.entries.read().clone()
    }

    /// The bytes here, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.entries.read().iter().map(|entry| entry.state.lock().rows.bytes()).sum()
    }

    /// Whether so much that it is to be written at once.
    pub(super) fn is_half_full(&self, bytes: usize) -> bool {
        bytes > self.bytes_max / 2
    }

    /// Puts rows and checkpoint, if owner and old checkpoint are still the same.
    pub(super) fn put(&self, entry: &Entry, commit: Commit, seen_at: i64) -> Put {
        if let Some(error) = commit.rows.iter().find_map(|row| misshapen(&entry.table, row)) {
            return Put::Misshapen(error);
        }
        let bytes = self.bytes();
        let mut state = entry.state.lock();
        if state.is_closed {
            return Put::Wait(commit);
        }
        if state.stored.owner != commit.owner || state.stored.position != commit.from {
            return Put::Done(CommitOutcome::Fenced);
        }
        if state.given.as_ref().is_none_or(|given| !Arc::ptr_eq(given, &commit.lineage) && **given != *commit.lineage) {
            return Put::Through(commit);
        }
        // One that has little here is let in: neither a read model that is being filled nor one whose rows cannot be written
        // is to stop the others.
        if bytes > self.bytes_max && state.rows.bytes() > self.bytes_max / LITTLE_OF {
            return Put::Wait(commit);
        }
        state.put(commit, seen_at);
        Put::Done(CommitOutcome::Stored)
    }

    /// What memory says of a row of the generation that serves; nothing where that one is not owned here.
    pub(super) fn look(&self, read_model: &str, key: &RowKey, now: Duration) -> Option<Look> {
        let entry = self.serving(read_model)?;
        let state = entry.state.lock();
        let checkpoint = state.checkpoint(&entry.table, self.clock, now)?;
        Some(match state.rows.find(key) {
            Some(row) => Look::Found(PointRead { row: row_of(row), checkpoint }),
            None => Look::InFile(entry.table.clone(), checkpoint),
        })
    }

    /// The checkpoint of the generation that serves, if it is owned here.
    pub(super) fn checkpoint(&self, read_model: &str, now: Duration) -> Option<Checkpoint> {
        let entry = self.serving(read_model)?;
        let state = entry.state.lock();
        state.checkpoint(&entry.table, self.clock, now)
    }

    /// What lists of this generation have to add to the file.
    pub(super) fn overlay(&self, generation: Generation, now: Duration) -> Option<Overlay> {
        let entry = self.find(generation)?;
        let mut state = entry.state.lock();
        let checkpoint = state.checkpoint(&entry.table, self.clock, now)?;
        Some(Overlay { checkpoint, layers: state.rows.share() })
    }

    fn serving(&self, read_model: &str) -> Option<Arc<Entry>> {
        let entries = self.entries.read();
        let serves =
            |entry: &&Arc<Entry>| entry.table.read_model.name == read_model && entry.state.lock().stored.serving;
        entries.iter().find(serves).cloned()
    }
}

impl Entry {
    /// The bodies of the rows that are here, for each key; `None` where the file is to be asked.
    pub(super) fn bodies(&self, keys: &[RowKey]) -> Vec<Option<Option<Bytes>>> {
        let state = self.state.lock();
        keys.iter().map(|key| state.rows.find(key).map(|row| row_of(row).map(|row| row.body))).collect()
    }

    /// Notes the head as seen, if `owner` is the owner. `false` where the file has to be asked.
    pub(super) fn refresh_head(
        &self,
        owner: OwnerToken,
        lineage: &Arc<Lineage>,
        head: Option<Position>,
        at: i64,
    ) -> bool {
        let mut state = self.state.lock();
        let is_given = state.given.as_ref().is_some_and(|given| Arc::ptr_eq(given, lineage) || **given == **lineage);
        if state.is_closed || state.stored.owner != owner || !is_given {
            return false;
        }
        (state.stored.head, state.stored.seen_at, state.is_dirty) = (head, at, true);
        true
    }

    /// Position, hash, why it waits, and when its owner last saw the head.
    pub(super) fn stand(&self) -> (Option<Position>, Hash, Option<Arc<str>>, i64) {
        let Stored { position, hash, held, seen_at, .. } = &self.state.lock().stored;
        (*position, *hash, held.clone(), *seen_at)
    }

    /// The lineage that `owner` has was stored with it, if that is the owner.
    pub(super) fn given(&self, owner: OwnerToken, lineage: &Arc<Lineage>) {
        let mut state = self.state.lock();
        if state.stored.owner == owner {
            state.given = Some(lineage.clone());
        }
    }

    /// Whether commits wait until memory has learnt of a change in the file.
    pub(super) fn close(&self, is_closed: bool) {
        self.state.lock().is_closed = is_closed;
    }

    /// What is to go into the file now, together with what did not get there before.
    pub(super) fn begin_flush(self: &Arc<Self>) -> Option<Part> {
        let mut state = self.state.lock();
        let lineage = state.given.clone()?;
        // Rows that nothing is dirty with are those of a flush that did not come to its end.
        if !std::mem::take(&mut state.is_dirty) && state.rows.bytes() == 0 {
            return None;
        }
        let layers = state.rows.begin_flush();
        let Stored { owner, position: to, hash, head, seen_at, .. } = state.stored;
        Some(Part { entry: self.clone(), owner, from: state.flushed, to, hash, lineage, head, seen_at, layers })
    }

    /// It is in the file, and readers see it there.
    pub(super) fn flushed(&self, part: &Part) {
        let mut state = self.state.lock();
        state.flushed = part.to;
        state.rows.end_flush(true);
    }

    /// It is not in the file, or nobody knows.
    pub(super) fn not_flushed(&self) {
        let mut state = self.state.lock();
        state.is_dirty = true;
        state.rows.end_flush(false);
    }
}

impl State {
    fn of(stored: Stored) -> Self {
        let flushed = stored.position;
        Self { stored, given: None, flushed, rows: Layers::default(), is_dirty: false, is_closed: false }
    }

    fn load(&mut self, stored: Stored) {
        let given = self.given.take().filter(|_| self.stored.owner == stored.owner);
        *self = Self { given, is_closed: self.is_closed, ..Self::of(stored) };
    }

    fn put(&mut self, commit: Commit, seen_at: i64) {
        commit.rows.into_iter().for_each(|row| self.rows.put(row));
        (self.stored.position, self.stored.hash) = (Some(commit.to), commit.hash);
        (self.stored.head, self.stored.seen_at) = (commit.head.position, seen_at);
        self.is_dirty = true;
    }

    fn checkpoint(&self, table: &Table, clock: Clock, now: Duration) -> Option<Checkpoint> {
        let Stored { position, lineage, head, seen_at, held, serving, .. } = &self.stored;
        serving.then(|| Checkpoint {
            generation: table.generation,
            position: *position,
            lineage: lineage.clone(),
            head: HeadSeen { position: *head, age: clock.since(now, *seen_at) },
            held: held.clone(),
            forked: None,
        })
    }
}

fn row_of(row: &RowWrite) -> Option<Row> {
    match &row.change {
        RowChange::Put { body, .. } => {
            Some(Row { body: Bytes::copy_from_slice(body.as_bytes()), position: row.position })
        }
        RowChange::Delete => None,
    }
}

/// Why the table would not take a row.
fn misshapen(table: &Table, row: &RowWrite) -> Option<rusqlite::Error> {
    let RowChange::Put { index, .. } = &row.change else { return None };
    let indexes = &table.read_model.indexes;
    if index.len() != indexes.len() {
        return Some(rusqlite::Error::InvalidParameterCount(index.len(), indexes.len()));
    }
    let wrong = indexes.iter().zip(index).find(|(declared, value)| match value {
        IndexValue::Null => false,
        IndexValue::Text(_) => declared.kind != IndexKind::Text,
        IndexValue::Integer(_) => declared.kind == IndexKind::Text,
    })?;
    let found =
        format!("the indexed field {} is declared as {} and given as {:?}", wrong.0.field, wrong.0.kind, wrong.1);
    Some(rusqlite::Error::ToSqlConversionFailure(found.into()))
}
