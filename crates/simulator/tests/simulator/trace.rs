//! Watches every checkpoint that moves, and takes its time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{EpochId, Lineage, Position, ReadModel, RowKey};
use parking_lot::Mutex;
use query_database::{
    Commit, CommitOutcome, Error, Forked, Generation, GenerationStatus, HeadSeen, Owned, OwnerToken, RowWriter,
    SqliteQueryDatabase,
};
use runtime::Runtime;

const COMMIT_MICROS_MAX: u64 = 4000;

/// The rows of one life of the process, which takes time for each commit as a disk does: a generation that is filled is seen
/// half-way, by readers and by crashes. Panics where a checkpoint moves that was not where its owner took it or last moved it
/// to, moves backwards, or is moved by somebody else.
pub(super) struct Watched {
    runtime: Runtime,
    rows: Arc<SqliteQueryDatabase>,
    owned: Mutex<BTreeMap<Generation, (OwnerToken, Option<Position>)>>,
    seen: Arc<Seen>,
}

/// What was seen over all lives of the process.
#[derive(Default)]
pub(super) struct Seen {
    /// How often another generation began to answer.
    pub(super) switches: AtomicU32,
    /// Every epoch that was stored with a checkpoint.
    pub(super) epochs: Mutex<BTreeSet<EpochId>>,
}

impl Watched {
    pub(super) fn new(runtime: Runtime, rows: Arc<SqliteQueryDatabase>, seen: Arc<Seen>) -> Self {
        Self { runtime, rows, owned: Mutex::default(), seen }
    }

    fn moved(&self, commit: &Commit) {
        let mut owned = self.owned.lock();
        let expected = owned.insert(commit.generation, (commit.owner, Some(commit.to)));
        assert_eq!(
            expected,
            Some((commit.owner, commit.from)),
            "generation {} moved to {:?}",
            commit.generation,
            commit.to
        );
        assert!(commit.from < Some(commit.to), "generation {} moved back to {:?}", commit.generation, commit.to);
        self.seen.epochs.lock().extend(commit.lineage.0.iter().map(|epoch| epoch.id));
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

impl RowWriter for Watched {
    fn take(&self, read_model: Arc<ReadModel>) -> Answer<'_, Owned> {
        Box::pin(async move {
            let taken = self.rows.take(read_model).await?;
            self.owned.lock().insert(taken.generation, (taken.owner, taken.position));
            Ok(taken)
        })
    }

    fn commit(&self, commit: Commit) -> Answer<'_, CommitOutcome> {
        Box::pin(async move {
            self.runtime.sleep(Duration::from_micros(self.runtime.random_u64() % COMMIT_MICROS_MAX)).await;
            let outcome = self.rows.commit(commit.clone()).await?;
            if outcome == CommitOutcome::Stored {
                self.moved(&commit);
            }
            Ok(outcome)
        })
    }

    fn mark_forked(&self, forked: Forked) -> Answer<'_, bool> {
        self.rows.mark_forked(forked)
    }

    fn rows(&self, generation: Generation, keys: Vec<RowKey>) -> Answer<'_, Vec<Option<Bytes>>> {
        self.rows.rows(generation, keys)
    }

    fn filled(&self, generation: Generation) {
        self.rows.filled(generation);
    }

    fn refresh_head(
        &self,
        owned: Vec<(Generation, OwnerToken)>,
        lineage: Arc<Lineage>,
        head: HeadSeen,
    ) -> Answer<'_, ()> {
        self.rows.refresh_head(owned, lineage, head)
    }

    fn hold(&self, generation: Generation, owner: OwnerToken, reason: Option<String>) -> Answer<'_, CommitOutcome> {
        self.rows.hold(generation, owner, reason)
    }

    fn switch(&self, generation: Generation, owner: OwnerToken) -> Answer<'_, bool> {
        Box::pin(async move {
            let switched = self.rows.switch(generation, owner).await?;
            self.seen.switches.fetch_add(u32::from(switched), Ordering::Relaxed);
            Ok(switched)
        })
    }

    fn generations(&self) -> Answer<'_, Vec<GenerationStatus>> {
        self.rows.generations()
    }
}
