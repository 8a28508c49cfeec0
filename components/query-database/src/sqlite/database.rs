//! The two contracts on top of connections and workers.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, select};
use model::{Lineage, ReadModel, RowKey};
use parking_lot::{Mutex, MutexGuard};
use runtime::{Runtime, Worker, give_way};
use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    checkpoint::{Clock, micros},
    commits::Commits,
    file, generations,
    lists::Lists,
    pool::Pool,
    reader::Reader,
    writer::{Writer, wal_checkpoint},
};
use crate::{
    Checkpoint, Commit, CommitOutcome, Error, Forked, Generation, GenerationStatus, HeadSeen, List, ListRead, Owned,
    OwnerToken, PointRead, RowReader, RowWriter, Serving,
    telemetry::{Telemetry, commit_span, read_span},
};

/// What can be set.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// Connections for point reads: as many as threads read at once.
    pub readers: usize,
    /// Lists that run at once.
    pub list_workers: usize,
    /// How long a list may take, waiting for its worker included.
    pub list_duration_max: Duration,
    /// Memory for pages, of the writing connection.
    pub writer_cache_bytes: u64,
    /// Memory for pages, of each reading connection.
    pub reader_cache_bytes: u64,
    /// The file grows no further: a commit that would need more is refused as on a full disk. `None` for no limit.
    pub file_bytes_max: Option<u64>,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            readers: 8,
            list_workers: 2,
            list_duration_max: Duration::from_secs(5),
            writer_cache_bytes: 64 << 20,
            reader_cache_bytes: 8 << 20,
            file_bytes_max: None,
        }
    }
}

/// Rows and checkpoints in one SQLite file.
///
/// # Durability
/// Less than the log's: a power cut may lose the last commits, each of them whole. The checkpoint goes with its rows, so that
/// the Event Handler folds the lost part again.
pub struct SqliteQueryDatabase {
    runtime: Runtime,
    path: PathBuf,
    pool: Arc<Pool>,
    lists: Lists,
    rows: (Worker, Arc<Mutex<Reader>>),
    writing: Writing,
    commits: Commits,
    telemetry: Telemetry,
}

/// What jobs on the writer's worker share.
#[derive(Clone)]
struct Writing {
    worker: Worker,
    writer: Arc<Mutex<Writer>>,
    mover: Worker,
    moving: Arc<(Mutex<Connection>, AtomicBool)>,
    changes: watch::Sender<u64>,
    pool: Arc<Pool>,
}

/// Rows that are read for a fold without handing the work over: it would take longer than so few.
const KEYS_ON_THE_SPOT_MAX: usize = 8;

/// [`RowReader::changed`] completes after this long even if nothing changed.
const UNCHANGED_MAX: Duration = Duration::from_millis(250);

impl SqliteQueryDatabase {
    /// The file's usual name.
    pub const FILE_NAME: &'static str = "rows.sqlite3";

    /// Opens the file at `path`, making it where there is none. Blocks: to be called at the start.
    ///
    /// # Errors
    /// [`Error::Foreign`] and [`Error::Format`] leave the file untouched.
    pub fn open(path: &Path, runtime: &Runtime, config: &SqliteConfig) -> Result<Self, Error> {
        file::prepare(path)?;
        let clock = Clock { id: runtime.random_u64().cast_signed(), opened_at: runtime.now() };
        let writer = Writer::open(path, config, clock.id)?;
        let (list_workers, limit) = (config.list_workers, config.list_duration_max);
        let cache_bytes = config.reader_cache_bytes;
        let pool = Arc::new(Pool::open(path, config.readers, cache_bytes, clock)?);
        let telemetry = Telemetry::new();
        Ok(Self {
            runtime: runtime.clone(),
            path: path.to_owned(),
            pool: pool.clone(),
            lists: Lists::open(path, runtime, list_workers, limit, cache_bytes, clock)?,
            rows: (
                runtime.worker("query-database-rows"),
                Arc::new(Mutex::new(Reader::open(path, cache_bytes, clock)?)),
            ),
            writing: Writing {
                worker: runtime.worker("query-database"),
                writer: Arc::new(Mutex::new(writer)),
                mover: runtime.worker("query-database-wal"),
                moving: Arc::new((Mutex::new(file::writer(path, cache_bytes)?), AtomicBool::new(false))),
                changes: watch::Sender::new(0),
                pool,
            },
            commits: Commits::new(runtime.clone(), telemetry.clone()),
            telemetry,
        })
    }

    /// Adds this box's metrics to `registry`.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.telemetry.register(registry);
    }

    /// When the head was seen, in this process's time.
    fn seen_at(&self, head: HeadSeen) -> i64 {
        micros(self.runtime.now()).saturating_sub(micros(head.age))
    }

    /// Runs `work` on the writer's worker; readers that wait are told afterwards.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, Error> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let writing = self.writing.clone();
        let job = move || {
            let mut writer = writing.writer.lock();
            let written = work(&mut writer);
            writing.written(writer, written.is_ok());
            written
        };
        self.writing.worker.run(job).map(|done| done.unwrap_or(Err(Error::WorkerGone))).boxed()
    }
}

impl Writing {
    /// Whatever there is to do after a write. Readers that wait are told.
    fn written(&self, mut writer: MutexGuard<'_, Writer>, is_stored: bool) {
        let wal_is_long = writer.wal_is_long();
        drop(writer);
        // Also after a failure: a commit may have been stored although it failed.
        self.pool.committed();
        if is_stored {
            self.changes.send_modify(|changes| *changes += 1);
        }
        if wal_is_long {
            self.clone().move_wal();
        }
    }

    /// Stores the commits that wait.
    fn store(&self, commits: &Commits, mut writer: MutexGuard<'_, Writer>) {
        if let Some(answer) = commits.store(&mut writer) {
            self.written(writer, true);
            answer();
        }
    }

    /// Stores the commits that wait, here if they are few and the writer is free.
    fn see_to(&self, commits: &Commits) {
        let on_the_spot = if commits.may_be_written_here() { self.writer.try_lock() } else { None };
        match on_the_spot {
            Some(writer) => self.store(commits, writer),
            None => self.send_for(commits),
        }
    }

    /// Has the worker store the commits that wait, unless it is about to.
    fn send_for(&self, commits: &Commits) {
        if !commits.expect() {
            return;
        }
        let (writing, commits) = (self.clone(), commits.clone());
        // It runs whether or not somebody waits for it.
        drop(self.worker.run(move || {
            commits.arrived();
            writing.store(&commits, writing.writer.lock());
            // What was too much for one transaction.
            writing.send_for(&commits);
        }));
    }

    /// Moves the WAL into the file: most of it beside the commits, the rest between two of them.
    fn move_wal(self) {
        if self.moving.1.swap(true, Ordering::AcqRel) {
            return;
        }
        let mover = self.mover.clone();
        let job = move || {
            let moved = self.pool.let_go().and_then(|()| wal_checkpoint(&self.moving.0.lock(), "PASSIVE"));
            let worker = self.worker.clone();
            let rest = worker.run(move || {
                if let Err(error) = moved.and_then(|_| self.finish_wal()) {
                    // Nothing is lost: the WAL has it all, and the next time is soon.
                    tracing::warn!(error = %error, "cannot move the query database's WAL into its file");
                }
                self.moving.1.store(false, Ordering::Release);
            });
            // It runs whether or not somebody waits for it.
            drop(rest);
        };
        drop(mover.run(job));
    }

    /// Lets the next commit start the WAL over. It can if all is moved, and nobody's snapshot began before all was: snapshots
    /// that begin afterwards read the file alone.
    fn finish_wal(&self) -> rusqlite::Result<()> {
        self.pool.let_go()?;
        self.writer.lock().finish_wal()?;
        self.pool.let_go()
    }
}

impl RowWriter for SqliteQueryDatabase {
    fn take(&self, read_model: Arc<ReadModel>) -> BoxFuture<'_, Result<Owned, Error>> {
        self.write(move |writer| writer.take(&read_model))
    }

    fn mark_forked(&self, forked: Forked) -> BoxFuture<'_, Result<bool, Error>> {
        self.write(move |writer| writer.mark_forked(&forked))
    }

    fn rows(&self, generation: Generation, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Error>> {
        let (worker, reader) = &self.rows;
        if keys.len() <= KEYS_ON_THE_SPOT_MAX
            && let Some(mut reader) = reader.try_lock()
        {
            return std::future::ready(reader.rows(generation, &keys)).boxed();
        }
        let reader = reader.clone();
        let rows = worker.run(move || reader.lock().rows(generation, &keys));
        rows.map(|done| done.unwrap_or(Err(Error::WorkerGone))).boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        let seen_at = self.seen_at(commit.head);
        let queued = self.commits.queue(commit, seen_at, commit_span());
        Box::pin(async move {
            // Commits of the same events come together by it.
            give_way().await;
            self.writing.see_to(&self.commits);
            queued.outcome().await
        })
    }

    fn refresh_head(
        &self,
        owned: Vec<(Generation, OwnerToken)>,
        lineage: Arc<Lineage>,
        head: HeadSeen,
    ) -> BoxFuture<'_, Result<(), Error>> {
        let seen_at = self.seen_at(head);
        self.write(move |writer| writer.refresh_head(&owned, &lineage, head, seen_at))
    }

    fn hold(
        &self,
        generation: Generation,
        owner: OwnerToken,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        self.write(move |writer| writer.hold(generation, owner, reason.as_deref()))
    }

    fn switch(&self, generation: Generation, owner: OwnerToken) -> BoxFuture<'_, Result<bool, Error>> {
        self.write(move |writer| writer.switch(generation, owner))
    }

    fn generations(&self) -> BoxFuture<'_, Result<Vec<GenerationStatus>, Error>> {
        let (worker, reader) = &self.rows;
        let reader = reader.clone();
        let all = worker.run(move || {
            let reader = reader.lock();
            generations::all(&reader.connection).map_err(|source| file::reading(&reader.path, source))
        });
        all.map(|done| done.unwrap_or(Err(Error::WorkerGone))).boxed()
    }
}

impl RowReader for SqliteQueryDatabase {
    fn serving(&self, read_model: &str) -> BoxFuture<'_, Result<Serving, Error>> {
        let read_model = read_model.to_owned();
        Box::pin(async move { self.pool.read(self.runtime.now(), |reader| reader.serving_now(&read_model)) })
    }

    fn point<'a>(&'a self, read_model: &'a str, key: &'a RowKey) -> BoxFuture<'a, Result<PointRead, Error>> {
        Box::pin(async move {
            let span = read_span();
            let _entered = span.enter();
            let now = self.runtime.now();
            self.pool.read(now, |reader| reader.point(read_model, key, now))
        })
    }

    fn checkpoint<'a>(&'a self, read_model: &'a str) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move {
            let now = self.runtime.now();
            self.pool.read(now, |reader| reader.checkpoint(read_model, now))
        })
    }

    fn list<'a>(&'a self, read_model: &'a str, list: List) -> BoxFuture<'a, Result<Option<ListRead>, Error>> {
        Box::pin(tracing::Instrument::instrument(self.lists.run(read_model, list), read_span()))
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        // Subscribed at the call: what changes before the first poll counts.
        let mut changes = self.writing.changes.subscribe();
        let a_while = self.runtime.sleep(UNCHANGED_MAX);
        Box::pin(async move {
            let changed = std::pin::pin!(changes.changed());
            select(changed, a_while).await;
        })
    }
}

impl std::fmt::Debug for SqliteQueryDatabase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SqliteQueryDatabase").field("path", &self.path).finish_non_exhaustive()
    }
}
