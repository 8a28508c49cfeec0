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
use parking_lot::Mutex;
use runtime::{Runtime, Worker};
use tokio::sync::watch;

use super::{
    checkpoint::{Clock, micros},
    file,
    flushing::Writing,
    generations,
    lists::Lists,
    memtable::{Look, Memtable, Part, Put},
    pool::Pool,
    reader::Reader,
    table::Table,
    writer::Writer,
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
    /// How long what is committed stays in memory alone. A crash loses that much, rows together with their checkpoint.
    pub flush_after: Duration,
    /// Memory for what is committed and not in the file. At half of it the file is written at once; beyond it commits wait,
    /// but for those of generations that have less than a sixteenth of it.
    pub memtable_bytes_max: usize,
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
            flush_after: Duration::from_millis(250),
            memtable_bytes_max: 64 << 20,
            file_bytes_max: None,
        }
    }
}

/// Rows and checkpoints in one SQLite file.
///
/// # Durability
/// Less than the log's: a crash loses what was committed in the last moments ([`SqliteConfig::flush_after`]), and a power cut
/// perhaps some more, always rows together with their checkpoint, so that the Event Handler folds the lost part again. One that
/// is dropped in order writes all it has.
pub struct SqliteQueryDatabase {
    runtime: Runtime,
    path: PathBuf,
    pool: Arc<Pool>,
    lists: Lists,
    rows: (Worker, Arc<Mutex<Reader>>),
    flush_after: Duration,
    writing: Arc<Writing>,
}

/// A switch can overtake a read; two in a row hardly do.
const ATTEMPTS_MAX: usize = 2;

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
        let writer = Writer::open(path, config, clock)?;
        let memtable = Arc::new(Memtable::new(clock, config.memtable_bytes_max));
        let (list_workers, limit) = (config.list_workers, config.list_duration_max);
        let cache_bytes = config.reader_cache_bytes;
        let pool = Arc::new(Pool::open(path, config.readers, cache_bytes, clock)?);
        let writing = Arc::new(Writing {
            runtime: runtime.clone(),
            worker: runtime.worker("query-database"),
            writer: Arc::new(Mutex::new(writer)),
            mover: runtime.worker("query-database-wal"),
            moving: Arc::new((Mutex::new(file::writer(path, cache_bytes)?), AtomicBool::new(false))),
            changes: watch::Sender::new(0),
            pool: pool.clone(),
            memtable,
            flushing: Arc::default(),
            telemetry: Telemetry::new(),
        });
        Ok(Self {
            runtime: runtime.clone(),
            path: path.to_owned(),
            pool,
            lists: Lists::open(path, runtime, list_workers, limit, cache_bytes, clock, writing.clone())?,
            rows: (
                runtime.worker("query-database-rows"),
                Arc::new(Mutex::new(Reader::open(path, cache_bytes, clock)?)),
            ),
            writing,
            flush_after: config.flush_after,
        })
    }

    /// Adds this box's metrics to `registry`.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.writing.telemetry.register(registry);
    }

    /// When the head was seen, in this process's time.
    fn seen_at(&self, head: HeadSeen) -> i64 {
        micros(self.runtime.now()).saturating_sub(micros(head.age))
    }

    /// Brings what is in memory into the file.
    ///
    /// # Errors
    /// When the file cannot be written: it stays in memory, and is tried again.
    pub async fn flush(&self) -> Result<(), Error> {
        let writing = self.writing.clone();
        self.writing.worker.run(move || writing.flush(|_| true)).await.unwrap_or(Err(Error::WorkerGone))
    }

    /// [`Writing::write`] on the writer's worker.
    fn write<T: Send + 'static>(
        &self,
        concerned: impl Fn(&Table) -> bool + Send + 'static,
        work: impl FnOnce(&mut Writer) -> Result<T, Error> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let writing = self.writing.clone();
        let written = self.writing.worker.run(move || writing.write(concerned, work));
        written.map(|done| done.unwrap_or(Err(Error::WorkerGone))).boxed()
    }

    /// A commit that memory cannot take as it is.
    fn write_through(&self, commit: Commit, seen_at: i64) -> BoxFuture<'static, Result<CommitOutcome, Error>> {
        let writing = self.writing.clone();
        let generation = commit.generation;
        self.write(only(generation), move |writer| {
            let Some(entry) = writing.memtable.find(generation) else { return Ok(CommitOutcome::Fenced) };
            let rows = commit.rows.into_iter().map(|row| (row.key.clone(), Arc::new(row))).collect();
            let (owner, from, to, hash) = (commit.owner, commit.from, Some(commit.to), commit.hash);
            let (lineage, head, layers) = (commit.lineage.clone(), commit.head.position, vec![Arc::new(rows)]);
            let part = Part { entry: entry.clone(), owner, from, to, hash, lineage, head, seen_at, layers };
            let outcome = writing.store(writer, &[&part])?.first().copied().unwrap_or(CommitOutcome::Fenced);
            if outcome == CommitOutcome::Stored {
                entry.given(owner, &commit.lineage);
            }
            Ok(outcome)
        })
    }
}

/// Concerned with one generation.
fn only(generation: Generation) -> impl Fn(&Table) -> bool {
    move |table| table.generation == generation
}

impl Drop for SqliteQueryDatabase {
    fn drop(&mut self) {
        self.writing.flushing.is_closing.store(true, Ordering::Relaxed);
        if let Err(error) = self.writing.flush(|_| true) {
            tracing::warn!(error = %error, "the last rows were not stored; they are folded again at the next start");
        }
    }
}

impl RowWriter for SqliteQueryDatabase {
    fn take(&self, read_model: Arc<ReadModel>) -> BoxFuture<'_, Result<Owned, Error>> {
        let (writing, name) = (self.writing.clone(), read_model.name.clone());
        self.write(
            move |table| table.read_model.name == name,
            move |writer| {
                let owned = writer.take(&read_model)?;
                // It may be one that memory does not know yet.
                writing.pool.committed();
                writing.learn(writer, owned.generation)?;
                Ok(owned)
            },
        )
    }

    fn mark_forked(&self, forked: Forked) -> BoxFuture<'_, Result<bool, Error>> {
        self.write(only(forked.generation), move |writer| writer.mark_forked(&forked))
    }

    fn rows(&self, generation: Generation, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Error>> {
        // Before the file is asked: what leaves memory is there.
        let here = self.writing.memtable.find(generation).map(|entry| entry.bodies(&keys));
        let here = here.unwrap_or_else(|| vec![None; keys.len()]);
        let missing: Vec<RowKey> =
            keys.into_iter().zip(&here).filter_map(|(key, here)| here.is_none().then_some(key)).collect();
        let join = move |stored: Vec<Option<Bytes>>| {
            let mut stored = stored.into_iter();
            here.into_iter().map(|here| here.unwrap_or_else(|| stored.next().flatten())).collect()
        };
        let (worker, reader) = &self.rows;
        if missing.is_empty() {
            return std::future::ready(Ok(join(Vec::new()))).boxed();
        }
        if missing.len() <= KEYS_ON_THE_SPOT_MAX
            && let Some(mut reader) = reader.try_lock()
        {
            return std::future::ready(reader.rows(generation, &missing).map(join)).boxed();
        }
        let reader = reader.clone();
        let rows = worker.run(move || reader.lock().rows(generation, &missing));
        rows.map(|done| done.unwrap_or(Err(Error::WorkerGone)).map(join)).boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        let seen_at = self.seen_at(commit.head);
        let span = commit_span();
        Box::pin(async move {
            let (generation, rows) = (commit.generation, commit.rows.len());
            let began = self.runtime.now();
            let outcome = self.put(commit, seen_at, &span).await?;
            let took = self.runtime.now().saturating_sub(began);
            self.writing.telemetry.commit_duration.observe(took.as_secs_f64());
            self.writing.count(generation, rows, outcome);
            Ok(outcome)
        })
    }

    fn filled(&self, generation: Generation) {
        let writing = self.writing.clone();
        drop(self.runtime.spawn("query-database indexes", writing.finish(generation)));
    }

    fn refresh_head(
        &self,
        owned: Vec<(Generation, OwnerToken)>,
        lineage: Arc<Lineage>,
        head: HeadSeen,
    ) -> BoxFuture<'_, Result<(), Error>> {
        let seen_at = self.seen_at(head);
        let is_noted = |(generation, owner): &(Generation, OwnerToken)| {
            let entry = self.writing.memtable.find(*generation);
            entry.is_some_and(|entry| entry.refresh_head(*owner, &lineage, head.position, seen_at))
        };
        let rest: Vec<_> = owned.into_iter().filter(|owned| !is_noted(owned)).collect();
        if rest.is_empty() {
            return std::future::ready(Ok(())).boxed();
        }
        let concerned: Vec<_> = rest.iter().map(|(generation, _)| *generation).collect();
        let writing = self.writing.clone();
        self.write(
            move |table| concerned.contains(&table.generation),
            move |writer| {
                writer.refresh_head(&rest, &lineage, head, seen_at)?;
                for (generation, owner) in rest {
                    // One that is not owned here stays out of memory.
                    if let Some(entry) = writing.memtable.find(generation) {
                        entry.given(owner, &lineage);
                    }
                }
                Ok(())
            },
        )
    }

    fn hold(
        &self,
        generation: Generation,
        owner: OwnerToken,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        self.write(only(generation), move |writer| writer.hold(generation, owner, reason.as_deref()))
    }

    fn switch(&self, generation: Generation, owner: OwnerToken) -> BoxFuture<'_, Result<bool, Error>> {
        // The one that served before may be owned here as well.
        let name = self.writing.memtable.find(generation).map(|entry| entry.table.read_model.name.clone());
        let concerned = move |table: &Table| name.as_ref().is_none_or(|name| *name == table.read_model.name);
        Box::pin(async move {
            // Before the switch, and with commits in between: what it closes waits only for as long as the switch takes.
            self.writing.clone().make_indexes(generation).await?;
            self.write(concerned, move |writer| writer.switch(generation, owner)).await
        })
    }

    fn generations(&self) -> BoxFuture<'_, Result<Vec<GenerationStatus>, Error>> {
        let (worker, reader) = &self.rows;
        let (reader, memtable, runtime) = (reader.clone(), self.writing.memtable.clone(), self.runtime.clone());
        let all = worker.run(move || {
            let reader = reader.lock();
            let (clock, now) = (reader.clock, runtime.now());
            let mut all = generations::all(&reader.connection, clock, now)
                .map_err(|source| file::reading(&reader.path, source))?;
            for status in &mut all {
                if let Some(entry) = memtable.find(status.generation) {
                    let (position, hash, held, seen_at) = entry.stand();
                    (status.position, status.hash, status.held) = (position, hash, held.as_deref().map(str::to_owned));
                    status.head_age = clock.since(now, seen_at);
                }
            }
            Ok(all)
        });
        all.map(|done| done.unwrap_or(Err(Error::WorkerGone))).boxed()
    }
}

impl SqliteQueryDatabase {
    /// Puts a commit where it belongs: into memory, if it can be there.
    async fn put(&self, mut commit: Commit, seen_at: i64, span: &tracing::Span) -> Result<CommitOutcome, Error> {
        let memtable = &self.writing.memtable;
        loop {
            let Some(entry) = memtable.find(commit.generation) else { return Ok(CommitOutcome::Fenced) };
            match span.in_scope(|| memtable.put(&entry, commit, seen_at)) {
                Put::Done(outcome) => {
                    if outcome == CommitOutcome::Stored {
                        self.writing.changes.send_modify(|changes| *changes += 1);
                        self.writing.plan_flush(self.flush_after);
                    }
                    return Ok(outcome);
                }
                Put::Misshapen(error) => return Err(file::writing(&self.path, error)),
                Put::Through(through) => return self.write_through(through, seen_at).await,
                Put::Wait(waiting) => {
                    let (writing, concerned) = (self.writing.clone(), only(waiting.generation));
                    let flushed = self.writing.worker.run(move || writing.flush(concerned));
                    flushed.await.unwrap_or(Err(Error::WorkerGone))?;
                    commit = waiting;
                }
            }
        }
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
            for _ in 0..ATTEMPTS_MAX {
                let (table, checkpoint) = match self.writing.memtable.look(read_model, key, now) {
                    Some(Look::Found(found)) => return Ok(found),
                    Some(Look::InFile(table, checkpoint)) => (table, checkpoint),
                    None => return self.pool.read(now, |reader| reader.point(read_model, key, now)),
                };
                // What was in memory before this read began is in its snapshot, or still in memory.
                if let Some(read) = self.pool.read(now, |reader| reader.point_of(&table, key, now))? {
                    let is_newer = read.checkpoint.position > checkpoint.position;
                    return Ok(if is_newer { read } else { PointRead { row: read.row, checkpoint } });
                }
            }
            // While generations are switched the file knows first which one serves, and has all rows of both.
            self.pool.read(now, |reader| reader.point(read_model, key, now))
        })
    }

    fn checkpoint<'a>(&'a self, read_model: &'a str) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move {
            let now = self.runtime.now();
            match self.writing.memtable.checkpoint(read_model, now) {
                Some(checkpoint) => Ok(checkpoint),
                None => self.pool.read(now, |reader| reader.checkpoint(read_model, now)),
            }
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
