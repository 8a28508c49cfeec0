//! What is committed and not yet in the file (ADR 0013).
//!
//! Commits go into memory, where whoever reads looks first, and now and then all of it goes into the file in one transaction:
//! each touched row once, in the order of keys, with the checkpoint that the rows lead to. The process that has the data
//! directory is alone with the file, so that what is here decides.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use model::{Hash, IndexKind, IndexValue, Lineage, Position, RowChange, RowKey, RowWrite, Tenant};
use parking_lot::{Mutex, RwLock};

use super::{
    checkpoint::{Clock, Stored},
    table::Table,
};
use crate::{Checkpoint, Commit, CommitOutcome, Generation, HeadSeen, OwnerToken, PointRead, Row};

/// Rows by their keys: the order in which they are written.
pub(super) type Rows = BTreeMap<RowKey, Arc<RowWrite>>;

/// What a row takes in memory beside its text, roughly.
const ROW_OVERHEAD_BYTES: usize = 256;

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
    rows: Rows,
    /// Those that are on their way into the file. Newer ones are in `rows`.
    flushing: Arc<Rows>,
    bytes: usize,
    /// Whether there is something for the file, be it only the head.
    is_dirty: bool,
}

/// What became of a commit.
pub(super) enum Put {
    /// It is in memory, or fenced.
    Done(CommitOutcome),
    /// It is to go into the file at once: it brings a lineage that is not there yet.
    Through(Commit),
    /// There is no room for it until what is here is in the file.
    Full(Commit),
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
    pub(super) to: Position,
    pub(super) hash: Hash,
    pub(super) lineage: Arc<Lineage>,
    pub(super) head: Option<Position>,
    pub(super) seen_at: i64,
    pub(super) rows: Arc<Rows>,
}

/// The rows of a tenant in memory, and the checkpoint that they lead to, at one instant.
pub(super) struct Overlay {
    pub(super) checkpoint: Checkpoint,
    /// By key, encoded. The ones that were deleted hide those in the file.
    pub(super) rows: BTreeMap<Arc<str>, Arc<RowWrite>>,
}

impl Memtable {
    pub(super) fn new(clock: Clock, bytes_max: usize) -> Self {
        Self { entries: RwLock::default(), clock, bytes_max }
    }

    pub(super) fn find(&self, generation: Generation) -> Option<Arc<Entry>> {
        self.entries.read().iter().find(|entry| entry.table.generation == generation).cloned()
    }

    /// Takes over what the file has. `false` where memory is further.
    pub(super) fn load(&self, table: &Arc<Table>, stored: Stored) -> bool {
        if let Some(entry) = self.find(table.generation) {
            return entry.state.lock().load(stored);
        }
        let state = Mutex::new(State::of(stored));
        self.entries.write().push(Arc::new(Entry { table: table.clone(), state }));
        true
    }

    /// Nobody here owns it any more: the file alone tells.
    pub(super) fn forget(&self, generation: Generation) {
        self.entries.write().retain(|entry| entry.table.generation != generation);
    }

    /// The generations here.
    pub(super) fn owned(&self) -> Vec<Arc<Entry>> {
        self.entries.read().clone()
    }

    /// The bytes here, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.entries.read().iter().map(|entry| entry.state.lock().bytes).sum()
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
        if state.stored.owner != commit.owner || state.stored.position != commit.from {
            return Put::Done(CommitOutcome::Fenced);
        }
        if state.given.as_ref().is_none_or(|given| !Arc::ptr_eq(given, &commit.lineage) && **given != *commit.lineage) {
            return Put::Through(commit);
        }
        // What finds nothing here is let in whatever its size.
        if bytes > self.bytes_max {
            return Put::Full(commit);
        }
        state.put(commit, seen_at);
        Put::Done(CommitOutcome::Stored)
    }

    /// What memory says of a row of the generation that serves; nothing where that one is not owned here.
    pub(super) fn look(&self, read_model: &str, key: &RowKey, now: Duration) -> Option<Look> {
        let entry = self.serving(read_model)?;
        let state = entry.state.lock();
        let checkpoint = state.checkpoint(&entry.table, self.clock, now)?;
        Some(match state.find(key) {
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
    pub(super) fn overlay(&self, generation: Generation, tenant: &Tenant, now: Duration) -> Option<Overlay> {
        let entry = self.find(generation)?;
        let state = entry.state.lock();
        let checkpoint = state.checkpoint(&entry.table, self.clock, now)?;
        let mut rows = BTreeMap::new();
        // Newer ones come last.
        for (key, row) in state.flushing.iter().chain(&state.rows).filter(|(key, _)| key.tenant == *tenant) {
            rows.insert(key.key.clone(), row.clone());
        }
        Some(Overlay { checkpoint, rows })
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
        keys.iter().map(|key| state.find(key).map(|row| row_of(row).map(|row| row.body))).collect()
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
        if state.stored.owner != owner || !is_given || state.stored.position.is_none() {
            return false;
        }
        (state.stored.head, state.stored.seen_at, state.is_dirty) = (head, at, true);
        true
    }

    /// Position, hash and why it waits.
    pub(super) fn stand(&self) -> (Option<Position>, Hash, Option<Arc<str>>) {
        let state = self.state.lock();
        (state.stored.position, state.stored.hash, state.stored.held.clone())
    }

    /// The lineage that `owner` has was stored with it, if that is the owner.
    pub(super) fn given(&self, owner: OwnerToken, lineage: &Arc<Lineage>) {
        let mut state = self.state.lock();
        if state.stored.owner == owner {
            state.given = Some(lineage.clone());
        }
    }

    /// What is to go into the file now, together with what did not get there before.
    pub(super) fn begin_flush(self: &Arc<Self>) -> Option<Part> {
        let mut state = self.state.lock();
        let (to, lineage) = (state.stored.position?, state.given.clone()?);
        if !state.is_dirty {
            return None;
        }
        let newer = std::mem::take(&mut state.rows);
        if state.flushing.is_empty() {
            state.flushing = Arc::new(newer);
        } else {
            Arc::make_mut(&mut state.flushing).extend(newer);
        }
        state.is_dirty = false;
        Some(Part {
            entry: self.clone(),
            owner: state.stored.owner,
            from: state.flushed,
            to,
            hash: state.stored.hash,
            lineage,
            head: state.stored.head,
            seen_at: state.stored.seen_at,
            rows: state.flushing.clone(),
        })
    }

    /// It is in the file, and readers see it there.
    pub(super) fn flushed(&self, part: &Part) {
        let mut state = self.state.lock();
        state.flushed = Some(part.to);
        state.flushing = Arc::default();
        state.bytes = state.rows.values().map(|row| bytes_of(row)).sum();
    }

    /// It is not in the file, or nobody knows.
    pub(super) fn not_flushed(&self) {
        self.state.lock().is_dirty = true;
    }
}

impl State {
    fn of(stored: Stored) -> Self {
        Self {
            flushed: stored.position,
            stored,
            given: None,
            rows: Rows::new(),
            flushing: Arc::default(),
            bytes: 0,
            is_dirty: false,
        }
    }

    /// Takes over what the file has. `false` where memory is further with the same owner: then only what the owner does not
    /// change by its commits.
    fn load(&mut self, stored: Stored) -> bool {
        let is_same = self.stored.owner == stored.owner && self.flushed == stored.position;
        if is_same && self.is_dirty {
            (self.stored.serving, self.stored.held) = (stored.serving, stored.held);
            return false;
        }
        let given = self.given.take().filter(|_| self.stored.owner == stored.owner);
        *self = Self { given, ..Self::of(stored) };
        true
    }

    fn put(&mut self, commit: Commit, seen_at: i64) {
        for row in commit.rows {
            self.bytes += bytes_of(&row);
            if let Some(before) = self.rows.insert(row.key.clone(), Arc::new(row)) {
                self.bytes -= bytes_of(&before).min(self.bytes);
            }
        }
        (self.stored.position, self.stored.hash) = (Some(commit.to), commit.hash);
        (self.stored.head, self.stored.seen_at) = (commit.head.position, seen_at);
        self.is_dirty = true;
    }

    fn find(&self, key: &RowKey) -> Option<&Arc<RowWrite>> {
        self.rows.get(key).or_else(|| self.flushing.get(key))
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

fn bytes_of(row: &RowWrite) -> usize {
    let text = |value: &IndexValue| if let IndexValue::Text(text) = value { text.len() } else { 0 };
    let content = match &row.change {
        RowChange::Put { body, index } => body.len() + index.iter().map(text).sum::<usize>(),
        RowChange::Delete => 0,
    };
    content + row.key.key.len() + ROW_OVERHEAD_BYTES
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
