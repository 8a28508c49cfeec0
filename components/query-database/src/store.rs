use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{Hash, IndexValue, Lineage, Position, ReadModel, RowKey, RowWrite, Tenant};
use serde::{Deserialize, Serialize};

use crate::Error;

/// One build of a read model, counted from 1 over all read models of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Fences a generation's owners from each other: the one who took it last has the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnerToken(pub u64);

/// A generation as its owner takes it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Which.
    pub generation: Generation,
    /// Goes into every commit.
    pub owner: OwnerToken,
    /// The last event that its rows contain; `None` for an empty one.
    pub position: Option<Position>,
    /// The hash of that event; all zero for an empty one.
    pub hash: Hash,
    /// Whether queries are answered from it.
    pub serving: bool,
}

/// Rows and the checkpoint they lead to, changed together or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which generation.
    pub generation: Generation,
    /// Who writes.
    pub owner: OwnerToken,
    /// The checkpoint before: compared.
    pub from: Option<Position>,
    /// The checkpoint after.
    pub to: Position,
    /// The hash of the event at `to`.
    pub hash: Hash,
    /// Each touched row once.
    pub rows: Vec<RowWrite>,
    /// The lineage that `to` lies in.
    pub lineage: Arc<Lineage>,
    /// The head of the log as last seen.
    pub head: HeadSeen,
}

/// The head of the log as an event handler last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSeen {
    /// The last position then.
    pub position: Option<Position>,
    /// How long before this call it was seen.
    pub age: Duration,
}

/// A checkpoint that was looked for in the log and not found.
#[derive(Clone, Debug)]
pub struct Forked {
    /// Of which generation.
    pub generation: Generation,
    /// The checkpoint that was looked for: compared.
    pub position: Position,
    /// Its hash: compared.
    pub hash: Hash,
    /// The lineage of the log that does not have it.
    pub lineage: Arc<Lineage>,
}

/// What became of a [`Commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Rows and checkpoint have changed, and who reads from now on sees both. A crash may take both back, never one of them.
    Stored,
    /// Nothing was: another owner took over, or the checkpoint was not `from`. Step down and forget what is cached.
    Fenced,
}

/// A generation's checkpoint as one statement read it, together with the rows it vouches for.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Which generation.
    pub generation: Generation,
    /// The last event that its rows contain.
    pub position: Option<Position>,
    /// The lineage it lies in, before it the lives of former logs that the log no longer has.
    pub lineage: Arc<Lineage>,
    /// The head of the log as last seen, and how long ago by this database's clock.
    pub head: HeadSeen,
    /// Why the projection waits, if it does.
    pub held: Option<Arc<str>>,
    /// The lineage of the log, with those lives, where the log does not have this checkpoint ([`RowWriter::mark_forked`]):
    /// the rows may contain what never happened, so that they contain no prefix of the log and are not fresh.
    pub forked: Option<Arc<Lineage>>,
}

/// A stored row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// JSON text, as it was stored.
    pub body: Bytes,
    /// The last event that touched it.
    pub position: Position,
}

/// One row, or none, and the checkpoint from the same snapshot.
#[derive(Clone, Debug)]
pub struct PointRead {
    /// The row.
    pub row: Option<Row>,
    /// How far it is folded.
    pub checkpoint: Checkpoint,
}

/// The generation that a read model is answered from.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Which.
    pub generation: Generation,
    /// Its shape, which may be older than the one this binary declares.
    pub read_model: Arc<ReadModel>,
}

/// A list query, checked against the indexes of [`Serving::read_model`]. Fields are given by their place among them.
#[derive(Clone, Debug)]
pub struct List {
    /// The generation it was checked against.
    pub generation: Generation,
    /// Whose rows.
    pub tenant: Tenant,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// First decides; the key, ascending, decides last.
    pub order: Vec<(usize, Direction)>,
    /// Go on after this row.
    pub after: Option<PageStart>,
    /// Most rows.
    pub rows_max: usize,
}

/// One condition on an indexed field. NULL equals nothing but NULL, and is neither less nor greater than anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Place of the index.
    pub index: usize,
    /// How it is compared.
    pub comparison: Comparison,
}

/// How a field is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq(IndexValue),
    /// Not equal; NULL is not equal to any value.
    Neq(IndexValue),
    /// Greater.
    Gt(IndexValue),
    /// Greater or equal.
    Gte(IndexValue),
    /// Less.
    Lt(IndexValue),
    /// Less or equal.
    Lte(IndexValue),
    /// Equal to one of these.
    In(Vec<IndexValue>),
    /// NULL.
    IsNull,
}

/// Which way a field is sorted. NULLs come last either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Smallest first.
    Asc,
    /// Greatest first.
    Desc,
}

/// The row that a page ended with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageStart {
    /// Its values of the ordering fields.
    pub values: Vec<IndexValue>,
    /// Its key, encoded.
    pub key: String,
}

/// A row of a list.
#[derive(Clone, Debug)]
pub struct ListedRow {
    /// JSON text, as it was stored.
    pub body: Bytes,
    /// Where a next page would start.
    pub start: PageStart,
}

/// A page and the checkpoint from the same snapshot.
#[derive(Clone, Debug)]
pub struct ListRead {
    /// Up to `rows_max` rows.
    pub rows: Vec<ListedRow>,
    /// Whether there are more.
    pub more: bool,
    /// How far they are folded.
    pub checkpoint: Checkpoint,
}

/// A generation as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationStatus {
    /// Of which read model.
    pub read_model: String,
    /// The fold's version.
    pub version: u32,
    /// Which.
    pub generation: Generation,
    /// Whether queries are answered from it.
    pub serving: bool,
    /// Its checkpoint.
    pub position: Option<Position>,
    /// The hash of that event; all zero where there is none.
    pub hash: Hash,
    /// Why it waits, if it does.
    pub held: Option<String>,
    /// Whether its checkpoint was not found in the log.
    pub forked: bool,
    /// How long ago its owner last saw the head of the log, by the database's clock. An owner that lives, and reaches the
    /// log, stores that now and then.
    pub head_age: Duration,
}

/// The Event Handler's side: one owner a generation.
///
/// # Invariants
/// A generation's rows are always the fold of the log up to its checkpoint, no more and no less.
pub trait RowWriter: Send + Sync + 'static {
    /// Takes over the newest generation of exactly this version and shape that is not marked as forked, making an empty one
    /// where there is none. The first generation of a read model serves at once, any other one from [`RowWriter::switch`] on.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn take(&self, read_model: Arc<ReadModel>) -> BoxFuture<'_, Result<Owned, Error>>;

    /// Marks a generation whose checkpoint the log does not have: the log was restored to an earlier state, or is another
    /// one. For good: nobody takes it or commits to it any more, its owner is fenced. If it serves it serves on, its reads
    /// say so, and whatever generation has the whole log replaces it. `false` where its checkpoint is another one by now.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn mark_forked(&self, forked: Forked) -> BoxFuture<'_, Result<bool, Error>>;

    /// The stored rows of `keys`, in their order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where one does not fit its checksum.
    fn rows(&self, generation: Generation, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Error>>;

    /// Changes rows and checkpoint together, if owner and old checkpoint are still the same. Commits of a generation become
    /// durable in their order, each whole, at the latest when the database is closed in order.
    ///
    /// # Errors
    /// Nothing is stored, except that after [`Error::Commit`] it is unknown.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, Error>>;

    /// A generation that was filled from the log has come to its end: what was put off meanwhile is done from now on. Whoever
    /// needs it before, a list or [`RowWriter::switch`], does not go without it.
    fn filled(&self, generation: Generation);

    /// Stores the head as seen, for the generations of these owners, while there is nothing to commit.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn refresh_head(
        &self,
        owned: Vec<(Generation, OwnerToken)>,
        lineage: Arc<Lineage>,
        head: HeadSeen,
    ) -> BoxFuture<'_, Result<(), Error>>;

    /// Stores why a generation waits, or that it no longer does.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn hold(
        &self,
        generation: Generation,
        owner: OwnerToken,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<CommitOutcome, Error>>;

    /// Lets `generation` answer from now on, in one transaction, if it may replace the one that serves:
    ///
    /// - where that one's checkpoint is of the log by this one's lineage, if this one has come at least as far: no switch
    ///   among generations of one history lowers the position;
    /// - where it is not, by the lineages or by [`RowWriter::mark_forked`], if this one has reached the head stored with it,
    ///   wherever the other one stands in its own history.
    ///
    /// `false` otherwise, where this one itself lies beyond a fork of the log, and where `owner` is no longer the owner.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn switch(&self, generation: Generation, owner: OwnerToken) -> BoxFuture<'_, Result<bool, Error>>;

    /// Every generation there is.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn generations(&self) -> BoxFuture<'_, Result<Vec<GenerationStatus>, Error>>;
}

/// The Query Service's side. Needs nothing of the Command Database.
pub trait RowReader: Send + Sync + 'static {
    /// The generation that `read_model` is answered from.
    ///
    /// # Errors
    /// [`Error::NotServing`] where there is none.
    fn serving(&self, read_model: &str) -> BoxFuture<'_, Result<Serving, Error>>;

    /// One row of the serving generation, and its checkpoint, from one snapshot.
    ///
    /// # Errors
    /// [`Error::NotServing`]; [`Error::Corrupt`] where the row does not fit its checksum.
    fn point<'a>(&'a self, read_model: &'a str, key: &'a RowKey) -> BoxFuture<'a, Result<PointRead, Error>>;

    /// The checkpoint of the serving generation.
    ///
    /// # Errors
    /// [`Error::NotServing`].
    fn checkpoint<'a>(&'a self, read_model: &'a str) -> BoxFuture<'a, Result<Checkpoint, Error>>;

    /// One page; `None` where `list.generation` no longer serves: ask [`RowReader::serving`] again.
    ///
    /// # Errors
    /// As [`RowReader::point`].
    fn list<'a>(&'a self, read_model: &'a str, list: List) -> BoxFuture<'a, Result<Option<ListRead>, Error>>;

    /// Completes when some checkpoint may have changed since the call, or a little later without one. To be called before
    /// the read that is to be repeated.
    fn changed(&self) -> BoxFuture<'static, ()>;
}
