//! A projection as the Event Handler handles it: a batch of events in, each touched row once out.

use std::{
    hash::{BuildHasher, BuildHasherDefault},
    marker::PhantomData,
    sync::Arc,
};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::{
    Change, Index, IndexValue, Key, Position, Projection, ReadModel, Recorded, Tenant,
    behaviour::guarded,
    by_key::{ByKey, HashedKey},
    index_values,
};

/// One of the application's projections, without its types.
pub trait ProjectionType: Send + Sync + 'static {
    /// Its name, version and shape.
    fn read_model(&self) -> &ReadModel;

    /// A fold that keeps up to `cached_bytes_max` of rows decoded in memory between batches.
    fn folder(&self, cached_bytes_max: usize) -> Box<dyn Folder>;

    /// The index values of a stored row, in the order of [`ReadModel::indexes`].
    ///
    /// # Errors
    /// What is wrong with the row, for the operator.
    fn index_values(&self, body: &str) -> Result<Vec<IndexValue>, String>;
}

/// Which row: no tenant sees another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    /// Whose.
    pub tenant: Tenant,
    /// The key, encoded.
    pub key: Arc<str>,
}

/// What a batch makes of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowWrite {
    /// Which row.
    pub key: RowKey,
    /// The last event that the row was touched by.
    pub position: Position,
    /// What it is now.
    pub change: RowChange,
}

/// A row's new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It exists, and this is it.
    Put {
        /// JSON text, stored and served as it is.
        body: String,
        /// Its index columns, in the order of [`ReadModel::indexes`].
        index: Vec<IndexValue>,
    },
    /// It exists no longer.
    Delete,
}

/// Folds batches of events. One batch is: [`plan`](Self::plan), [`supply`](Self::supply) each row that was asked for,
/// [`fold`](Self::fold), then [`commit`](Self::commit) once the rows are stored, or [`rollback`](Self::rollback).
pub trait Folder: Send {
    /// Works out the rows that `events` touch and returns those that are not in memory.
    ///
    /// # Errors
    /// [`FoldFailure`] names the first event whose keys cannot be told. Plan again with the events before it.
    fn plan(&mut self, events: &[Arc<Recorded>]) -> Result<Vec<RowKey>, FoldFailure>;

    /// Gives a row that `plan` asked for, in the order asked; `None` where there is no such row.
    ///
    /// # Errors
    /// The stored row is not one of this projection: its JSON does not fit.
    fn supply(&mut self, row: Option<&str>) -> Result<(), FoldFailure>;

    /// The rows after the planned events, each once, in the order first touched.
    ///
    /// # Errors
    /// [`FoldFailure`] names the event and the key. Nothing is kept: plan again with the events before it.
    fn fold(&mut self, events: &[Arc<Recorded>]) -> Result<Vec<RowWrite>, FoldFailure>;

    /// The rows are stored: what was folded may be kept in memory.
    fn commit(&mut self);

    /// The rows are not stored, or nobody knows: forgets everything.
    fn rollback(&mut self);
}

/// A projection cannot fold an event. The same input fails the same way again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot fold the event at position {position} into row {key:?}: {reason}")]
pub struct FoldFailure {
    /// The event.
    pub position: Position,
    /// The row, where the failure is about one.
    pub key: Option<RowKey>,
    /// The projection's words, or its panic's.
    pub reason: String,
}

/// The one implementation of [`ProjectionType`].
pub(crate) struct Typed<P> {
    read_model: ReadModel,
    types: PhantomData<fn() -> P>,
}

impl<P: Projection> Typed<P> {
    pub(crate) fn new() -> Self {
        Self { read_model: ReadModel::of::<P>(), types: PhantomData }
    }
}

impl<P: Projection> ProjectionType for Typed<P> {
    fn read_model(&self) -> &ReadModel {
        &self.read_model
    }

    fn folder(&self, cached_bytes_max: usize) -> Box<dyn Folder> {
        Box::new(TypedFolder::<P> {
            indexes: self.read_model.indexes.clone(),
            hashing: RandomState::default(),
            cache: RowCache {
                bytes_max: cached_bytes_max,
                young_bytes: 0,
                young: ByKey::default(),
                old: ByKey::default(),
            },
            slots: Vec::new(),
            touches: Vec::new(),
            wanted: Vec::new().into_iter(),
        })
    }

    fn index_values(&self, body: &str) -> Result<Vec<IndexValue>, String> {
        let row: P = serde_json::from_str(body).map_err(|error| error.to_string())?;
        index_values::of(&row, &self.read_model.indexes)
    }
}

struct Cached<P> {
    row: Option<P>,
    bytes: usize,
}

struct Slot<P> {
    key: HashedKey,
    first: Position,
    row: Option<P>,
    bytes: usize,
    last: Option<Position>,
}

struct Touch<K> {
    event: usize,
    key: K,
    slot: usize,
}

struct TypedFolder<P: Projection> {
    indexes: Vec<Index>,
    hashing: RandomState,
    cache: RowCache<P>,
    slots: Vec<Slot<P>>,
    touches: Vec<Touch<P::Key>>,
    wanted: std::vec::IntoIter<usize>,
}

/// Rows of earlier batches, decoded. Two halves: when the young one is full it becomes the old one, and the old one goes.
/// A row that is used again moves back to the young half, so what is hot stays.
struct RowCache<P> {
    bytes_max: usize,
    young_bytes: usize,
    young: ByKey<Cached<P>>,
    old: ByKey<Cached<P>>,
}

/// What a row costs in memory beside its text, roughly.
const ROW_OVERHEAD_BYTES: usize = 128;

impl<P> RowCache<P> {
    fn take(&mut self, key: &HashedKey) -> Option<Cached<P>> {
        if let Some(cached) = self.young.remove(key) {
            self.young_bytes -= cached.bytes + ROW_OVERHEAD_BYTES;
            return Some(cached);
        }
        self.old.remove(key)
    }

    fn put(&mut self, key: HashedKey, cached: Cached<P>) {
        self.young_bytes += cached.bytes + ROW_OVERHEAD_BYTES;
        self.young.insert(key, cached);
        if self.young_bytes > self.bytes_max / 2 {
            std::mem::swap(&mut self.old, &mut self.young);
            // It keeps its room: a map that grows anew is copied several times, into memory that was never touched.
            self.young.clear();
            self.young_bytes = 0;
        }
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }
}

impl<P: Projection> TypedFolder<P> {
    fn touch(&mut self, event: usize, recorded: &Recorded, planned: &mut ByKey<usize>) -> Result<(), FoldFailure> {
        let failure = |reason| FoldFailure { position: recorded.position, key: None, reason };
        let keys = guarded(|| P::keys(recorded)).map_err(failure)?.map_err(|error| failure(error.to_string()))?;
        for key in keys {
            let encoded = key.encoded().map_err(|error| failure(error.to_string()))?;
            // A row is often called as the aggregate is: then the name that is there serves for it.
            let id = &recorded.stream.id;
            let key_text = if **id == *encoded { id.clone() } else { encoded.into() };
            let row_key = RowKey { tenant: recorded.tenant().clone(), key: key_text };
            let row_key = HashedKey { hash: self.hashing.hash_one(&row_key), key: row_key };
            let next = self.slots.len();
            let slot = *planned.entry(row_key.clone()).or_insert(next);
            if slot == next {
                self.slots.push(Slot { key: row_key, first: recorded.position, row: None, bytes: 0, last: None });
            }
            self.touches.push(Touch { event, key, slot });
        }
        Ok(())
    }

    fn write(&self, slot: &mut Slot<P>, position: Position) -> Result<RowWrite, FoldFailure> {
        let failure = |reason| FoldFailure { position, key: Some(slot.key.key.clone()), reason };
        let change = match &slot.row {
            None => RowChange::Delete,
            Some(row) => {
                let body = serde_json::to_string(row).map_err(|error| failure(error.to_string()))?;
                let index = index_values::of(row, &self.indexes).map_err(failure)?;
                RowChange::Put { body, index }
            }
        };
        slot.bytes = if let RowChange::Put { body, .. } = &change { body.len() } else { 0 };
        Ok(RowWrite { key: slot.key.key.clone(), position, change })
    }
}

impl<P: Projection> Folder for TypedFolder<P> {
    fn plan(&mut self, events: &[Arc<Recorded>]) -> Result<Vec<RowKey>, FoldFailure> {
        if !self.slots.is_empty() {
            // The batch before was neither committed nor rolled back: nobody knows which rows are stored.
            self.rollback();
        }
        let mut planned = ByKey::with_capacity_and_hasher(events.len(), BuildHasherDefault::default());
        for (index, event) in events.iter().enumerate() {
            if let Err(failure) = self.touch(index, event, &mut planned) {
                self.slots.clear();
                self.touches.clear();
                return Err(failure);
            }
        }
        let mut wanted = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            match self.cache.take(&slot.key) {
                Some(cached) => (slot.row, slot.bytes) = (cached.row, cached.bytes),
                None => wanted.push(index),
            }
        }
        let keys = wanted.iter().map(|index| self.slots[*index].key.key.clone()).collect();
        self.wanted = wanted.into_iter();
        Ok(keys)
    }

    fn supply(&mut self, row: Option<&str>) -> Result<(), FoldFailure> {
        let Some(&index) = self.wanted.as_slice().first() else {
            return Ok(());
        };
        let Some(body) = row else {
            self.wanted.next();
            return Ok(());
        };
        let slot = &mut self.slots[index];
        let parsed = serde_json::from_str(body).map_err(|error| FoldFailure {
            position: slot.first,
            key: Some(slot.key.key.clone()),
            reason: format!("its stored row does not fit the projection's type: {error}"),
        });
        slot.row = Some(parsed?);
        slot.bytes = body.len();
        self.wanted.next();
        Ok(())
    }

    fn fold(&mut self, events: &[Arc<Recorded>]) -> Result<Vec<RowWrite>, FoldFailure> {
        if let Some(slot) = self.wanted.as_slice().first().map(|index| &self.slots[*index]) {
            // Folding on would make a new row of one that exists.
            let reason = "its stored row was not supplied".to_owned();
            return Err(FoldFailure { position: slot.first, key: Some(slot.key.key.clone()), reason });
        }
        for touch in &self.touches {
            let event = &events[touch.event];
            let slot = &mut self.slots[touch.slot];
            let failure = |reason| FoldFailure { position: event.position, key: Some(slot.key.key.clone()), reason };
            let before = slot.row.clone();
            let folded = guarded(|| P::fold(&touch.key, before, event)).map_err(failure)?;
            match folded.map_err(|error| failure(error.to_string()))? {
                Change::Keep => continue,
                Change::Put(row) => slot.row = Some(row),
                Change::Delete => slot.row = None,
            }
            slot.last = Some(event.position);
        }
        let mut slots = std::mem::take(&mut self.slots);
        let writes = slots
            .iter_mut()
            .filter_map(|slot| slot.last.map(|position| self.write(slot, position)))
            .collect::<Result<_, _>>();
        self.slots = slots;
        writes
    }

    fn commit(&mut self) {
        self.touches.clear();
        for slot in self.slots.drain(..) {
            self.cache.put(slot.key, Cached { row: slot.row, bytes: slot.bytes });
        }
    }

    fn rollback(&mut self) {
        self.touches.clear();
        self.slots.clear();
        self.cache.clear();
    }
}
