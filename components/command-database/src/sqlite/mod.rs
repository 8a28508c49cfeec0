//! The embedded log: one SQLite file with one writer.

mod checkpoint;
mod clock;
mod committing;
mod copy;
mod epoch;
mod failure;
mod idempotency;
mod names;
mod reader;
mod relay;
mod row;
mod scan;
mod schema;
mod stream_index;
#[cfg(test)]
mod tests;
mod wal;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::{Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use parking_lot::{Mutex, MutexGuard};
use runtime::{Runtime, Worker};
use uuid::Uuid;

use self::{
    checkpoint::Checkpoints,
    failure::{Failure, Result},
    reader::{Reader, View},
    schema::FirstEpoch,
    stream_index::StreamIndex,
    wal::Wal,
    writer::{AppendFailure, Appended, Writer},
};
pub use self::{copy::SqliteCopy, scan::SqliteLogScan};
use crate::{
    Append, Error, EventStore, Groups, Head, IdempotencyRecord, Load, Loaded, Metrics, Outcome, ReadLimit, RelayLease,
    Snapshot, chain::Prepared, recent::Recent, telemetry,
};

/// Versions between two marks by which a long stream can be entered in its middle.
const MARK_EVERY: u64 = 256;
/// Idempotency keys looked at in one step of their expiry, so that appends get in between.
const EXPIRY_KEYS_MAX: u32 = 4096;

/// Told of a failure after which nothing may be written any more.
pub type OnFatal = Arc<dyn Fn(&Error) + Send + Sync>;

/// Limits of a log, and where it reports to.
#[derive(Clone)]
pub struct SqliteConfig {
    /// Most events of one append.
    pub append_events_max: usize,
    /// Most bytes of payload of one append.
    pub append_bytes_max: usize,
    /// Pages of 4 KiB in the write-ahead log from which on it is copied into the main file.
    pub wal_pages_max: u32,
    /// What is measured.
    pub metrics: Metrics,
    /// Called when a write or sync failed. The default logs and aborts the process: after a failed sync the system's cache
    /// and the disk may differ, and only recovery from the disk tells what is there.
    pub on_fatal: OnFatal,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            append_events_max: 20_000,
            append_bytes_max: 32 * 1024 * 1024,
            wal_pages_max: 16_000,
            metrics: Metrics::default(),
            on_fatal: Arc::new(abort),
        }
    }
}

impl std::fmt::Debug for SqliteConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SqliteConfig")
            .field("append_events_max", &self.append_events_max)
            .field("append_bytes_max", &self.append_bytes_max)
            .field("wal_pages_max", &self.wal_pages_max)
            .finish_non_exhaustive()
    }
}

fn abort(error: &Error) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(error = %error, cause, "the log cannot be written safely: the process ends and recovers at its next start");
    std::process::abort();
}

/// The log in one SQLite file. Cheap to clone.
///
/// Its caller sees to it that only one process has it open at a time.
#[derive(Clone)]
pub struct SqliteEventStore {
    writing: Worker,
    /// For `load`, `read_stream` and `idempotency`, on which commands wait.
    loading: Reading,
    /// For `read`, `head` and `lineage`: long reads of those who catch up delay no command.
    scanning: Reading,
    /// Last, so that a connection that may write closes last and leaves no write-ahead log behind.
    log: Arc<Log>,
}

struct Log {
    path: PathBuf,
    runtime: Runtime,
    config: SqliteConfig,
    writer: Mutex<Writer>,
    /// The streams that the table of streams lags behind on.
    index: Arc<Mutex<StreamIndex>>,
    checkpoints: Checkpoints,
    failed: AtomicBool,
    /// Microseconds that a commit usually takes.
    usual_commit: AtomicU64,
    /// How many commands the last commit had.
    last_commands: AtomicUsize,
    /// The last position committed here: a hint about how long a read will be.
    head: AtomicU64,
    /// The events committed here last, so that whoever follows the log closely does not read back what was just written.
    recent: Mutex<Recent>,
}

/// Most events that are read without handing the work over.
const GLANCE_EVENTS_MAX: u64 = 64;
/// Most streams that are loaded without handing the work over.
const GLANCE_STREAMS_MAX: usize = 4;

#[derive(Clone)]
struct Reading {
    worker: Worker,
    reader: Arc<Mutex<Reader>>,
}

impl std::fmt::Debug for SqliteEventStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SqliteEventStore").field("path", &self.log.path).finish_non_exhaustive()
    }
}

impl SqliteEventStore {
    /// Opens the log at `path`, or makes it, with its first epoch, where there is no file.
    ///
    /// Blocks: it is called while a process starts.
    /// # Errors
    /// [`Error::Foreign`], [`Error::FormatTooNew`], [`Error::Damaged`]: nothing was touched. [`Error::Open`],
    /// [`Error::File`]: it cannot be reached or made. [`Error::EngineTooOld`].
    pub fn open(path: &Path, runtime: &Runtime, config: SqliteConfig) -> std::result::Result<Self, Error> {
        schema::prepare(path, || FirstEpoch { id: runtime.uuid(), began: runtime.wall_clock().as_microsecond() })?;
        Self::connect(path, runtime, config).map_err(|failure| failure.while_opening(path))
    }

    fn connect(path: &Path, runtime: &Runtime, config: SqliteConfig) -> Result<Self> {
        let mut connection = schema::connect_writing(path)?;
        let checkpoints = Checkpoints::new(runtime, path, &mut connection, config.wal_pages_max)?;
        let writer = Writer::open(connection, Wal::of(path, config.wal_pages_max), runtime.now())?;
        config.metrics.head(Position::count(writer.tail.head));
        let reading = |name| -> Result<Reading> {
            let reader = Arc::new(Mutex::new(Reader::new(schema::connect_reading(path)?)));
            Ok(Reading { worker: runtime.worker(name), reader })
        };
        let scanning = reading("command-database-scan")?;
        scanning.reader.lock().snapshot(|view| view.head())?;
        Ok(Self {
            loading: reading("command-database-load")?,
            scanning,
            writing: runtime.worker("command-database"),
            log: Arc::new(Log {
                path: path.to_owned(),
                runtime: runtime.clone(),
                config,
                head: AtomicU64::new(Position::count(writer.tail.head)),
                recent: Mutex::new(Recent::new()),
                index: writer.index(),
                writer: Mutex::new(writer),
                checkpoints,
                failed: AtomicBool::new(false),
                // Not known yet.
                usual_commit: AtomicU64::new(u64::MAX),
                last_commands: AtomicUsize::new(0),
            }),
        })
    }

    /// Runs `read` on one state of the log.
    async fn view<T: Send + 'static>(
        &self,
        reading: &Reading,
        read: impl FnOnce(&mut View<'_>) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        let reader = reading.reader.clone();
        let read = reading.worker.run(move || reader.lock().snapshot(read));
        read.await.map_err(|_| Error::WorkerGone)?.map_err(|failure| failure.while_reading(&self.log.path))
    }

    /// As [`Self::view`], but on the spot where the connection is free: what is short takes less time than handing it over
    /// and being woken again, and one command or one relayed event waits for exactly that.
    async fn glance<T: Send + 'static>(
        &self,
        reading: &Reading,
        read: impl FnOnce(&mut View<'_>) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        let on_the_spot = match reading.reader.try_lock() {
            Some(mut reader) => Ok(reader.snapshot(read)),
            None => Err(read),
        };
        match on_the_spot {
            Ok(result) => result.map_err(|failure| failure.while_reading(&self.log.path)),
            Err(read) => self.view(reading, read).await,
        }
    }

    /// Runs `write` on the writer; what it writes is a hint that a power cut may take back.
    async fn hint<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writer, Duration) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        let log = self.log.clone();
        self.writing.run(move || log.hint(write)).await.map_err(|_| Error::WorkerGone)?
    }
}

impl Drop for Log {
    /// Leaves a file that nothing has to be recovered of.
    fn drop(&mut self) {
        if !self.failed.load(Ordering::Acquire)
            && let Err(failure) = self.writer.get_mut().finish_index()
        {
            let error = failure.while_writing(&self.path);
            tracing::warn!(error = %error, "the index of streams is completed at the next start");
        }
    }
}

impl Log {
    fn check_size(&self, batch: &[Prepared]) -> std::result::Result<(), Error> {
        let (mut events, mut bytes) = (0, 0);
        for event in batch.iter().flat_map(Prepared::appends).flat_map(Append::events) {
            events += 1;
            bytes += event.payload.len();
        }
        let SqliteConfig { append_events_max: events_max, append_bytes_max: bytes_max, .. } = self.config;
        if events > events_max || bytes > bytes_max {
            return Err(Error::BatchTooLarge { events, bytes, events_max, bytes_max });
        }
        Ok(())
    }

    fn append(
        self: &Arc<Self>,
        mut writer: MutexGuard<'_, Writer>,
        batch: &[Prepared],
    ) -> std::result::Result<Vec<Outcome>, Error> {
        self.check_size(batch)?;
        let began = self.runtime.now();
        let recorded_at = self.runtime.wall_clock().as_microsecond();
        let Appended { outcomes, events } = match writer.append(batch, recorded_at, began) {
            Ok(appended) => appended,
            Err(AppendFailure::Write(failure)) => return Err(self.failure(failure, Failure::while_writing)),
            Err(AppendFailure::Commit(failure)) => return Err(self.failure(failure, Failure::while_committing)),
        };
        let duration = self.runtime.now().saturating_sub(began);
        self.count(&events);
        // Committed only: nobody sees from memory what a power cut could take back.
        self.recent.lock().push(events);
        self.head.store(Position::count(writer.tail.head), Ordering::Release);
        self.config.metrics.committed(outcomes.len(), duration, Position::count(writer.tail.head));
        writer.wal.make_room(self.checkpoints.pages());
        self.checkpoint(&writer);
        Ok(outcomes)
    }

    /// Adds up by type first: a batch has few of them.
    fn count(&self, events: &[Arc<StoredEvent>]) {
        let mut counts: Vec<(&Arc<str>, u64)> = Vec::new();
        for event in events {
            let name = &event.event_type.name;
            match counts.iter_mut().find(|(counted, _)| Arc::ptr_eq(counted, name) || *counted == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name, 1)),
            }
        }
        for (name, count) in counts {
            self.config.metrics.appended(name, count);
        }
    }

    fn hint<T>(
        self: &Arc<Self>,
        write: impl FnOnce(&mut Writer, Duration) -> Result<T>,
    ) -> std::result::Result<T, Error> {
        let mut writer = self.begin_job()?;
        let now = self.runtime.now();
        let written = writer.hint(|writer| write(writer, now));
        let written = written.map_err(|failure| self.failure(failure, Failure::while_writing))?;
        self.checkpoint(&writer);
        Ok(written)
    }

    fn index_is_due(&self) -> bool {
        self.index.lock().is_due(Position::new(self.head.load(Ordering::Acquire)))
    }

    /// Brings the table of streams on, where that is due. What fails is tried again: nothing depends on it.
    fn write_index(self: &Arc<Self>) {
        let Ok(mut writer) = self.begin_job() else { return };
        if !self.index_is_due() {
            return;
        }
        if let Err(failure) = writer.write_index() {
            let error = self.failure(failure, Failure::while_writing);
            tracing::warn!(error = %error, "the index of streams lags behind");
        }
        self.checkpoint(&writer);
    }

    fn begin_job(&self) -> std::result::Result<MutexGuard<'_, Writer>, Error> {
        // After a failed write or sync the file is left to recovery.
        if self.failed.load(Ordering::Acquire) { Err(Error::WorkerGone) } else { Ok(self.writer.lock()) }
    }

    fn checkpoint(self: &Arc<Self>, writer: &Writer) {
        let log = self.clone();
        self.checkpoints.after_commit(&writer.connection, move |failure| {
            let error = log.failure(failure, Failure::while_committing);
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(error = %error, cause, "the write-ahead log could not be copied: tried again after a while");
        });
    }

    fn failure(&self, failure: Failure, explain: fn(Failure, &Path) -> Error) -> Error {
        let is_fatal = failure.is_fatal();
        let error = explain(failure, &self.path);
        if is_fatal || matches!(error, Error::Commit { .. }) {
            self.failed.store(true, Ordering::Release);
            (self.config.on_fatal)(&error);
        }
        error
    }
}

impl EventStore for SqliteEventStore {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, std::result::Result<Vec<Outcome>, Error>> {
        Box::pin(async move {
            // Digests are made here, by the caller: the writer only chains them.
            let batch = [Prepared::new(batch)];
            let _hops = telemetry::hops(&batch);
            let log = self.log.clone();
            let append = move || {
                let appended = log.begin_job().and_then(|writer| log.append(writer, &batch));
                log.write_index();
                appended
            };
            self.writing.run(append).await.map_err(|_| Error::WorkerGone)?
        })
    }

    fn commit_groups(&self, groups: Groups) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.send_writer(groups) })
    }

    fn commit_at_once(&self, groups: &Groups) -> bool {
        self.commit_on_the_spot(groups)
    }

    fn read(
        &self,
        after: Option<Position>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, std::result::Result<Vec<Arc<StoredEvent>>, Error>> {
        Box::pin(async move {
            if let Some(events) = self.log.recent.lock().after(after, limit) {
                return Ok(events);
            }
            let head = self.log.head.load(Ordering::Acquire);
            let left = head.saturating_sub(Position::count(after));
            let read = move |view: &mut View<'_>| view.read(after, limit, left);
            if left <= GLANCE_EVENTS_MAX {
                self.glance(&self.scanning, read).await
            } else {
                self.view(&self.scanning, read).await
            }
        })
    }

    fn load(&self, streams: Vec<Load>, limit: ReadLimit) -> BoxFuture<'_, std::result::Result<Vec<Loaded>, Error>> {
        Box::pin(async move {
            let are_few = streams.len() <= GLANCE_STREAMS_MAX;
            let behind = {
                let index = self.log.index.lock();
                streams.iter().map(|load| index.find(&load.stream)).collect::<Vec<_>>()
            };
            let load = move |view: &mut View<'_>| {
                streams.iter().zip(behind).map(|(load, behind)| view.load(load, behind, limit)).collect()
            };
            if are_few { self.glance(&self.loading, load).await } else { self.view(&self.loading, load).await }
        })
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, std::result::Result<Vec<StoredEvent>, Error>> {
        let behind = self.log.index.lock().find(&stream);
        Box::pin(self.view(&self.loading, move |view| view.read_stream(&stream, behind, after, limit)))
    }

    fn head(&self) -> BoxFuture<'_, std::result::Result<Head, Error>> {
        Box::pin(self.view(&self.scanning, |view| view.head()))
    }

    fn lineage(&self) -> BoxFuture<'_, std::result::Result<Lineage, Error>> {
        Box::pin(self.view(&self.scanning, |view| Ok(view.epochs.lineage.clone())))
    }

    fn idempotency(&self, key: Hash) -> BoxFuture<'_, std::result::Result<Option<IdempotencyRecord>, Error>> {
        Box::pin(self.view(&self.loading, move |view| idempotency::find(view.connection, &key)))
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, std::result::Result<(), Error>> {
        Box::pin(self.hint(move |writer, _| writer.save_snapshot(&snapshot)))
    }

    fn lease_relay(
        &self,
        holder: Uuid,
        ttl: Duration,
    ) -> BoxFuture<'_, std::result::Result<Option<RelayLease>, Error>> {
        Box::pin(self.hint(move |writer, now| writer.lease_relay(holder, ttl, now)))
    }

    fn store_relay_cursor(&self, token: u64, cursor: Position) -> BoxFuture<'_, std::result::Result<bool, Error>> {
        Box::pin(self.hint(move |writer, _| writer.store_relay_cursor(token, cursor)))
    }

    fn expire_idempotency(&self, keep: Duration) -> BoxFuture<'_, std::result::Result<u64, Error>> {
        Box::pin(async move {
            let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
            let before = self
                .hint(move |writer, now| {
                    let Writer { connection, clock, .. } = writer;
                    clock.keep(connection, now)?;
                    Ok(clock.seconds(now).saturating_sub(keep))
                })
                .await?;
            let (mut after, mut expired) = (Some(Hash::default()), 0);
            while let Some(from) = after {
                let slice = self
                    .view(&self.scanning, move |view| {
                        idempotency::find_expired(view.connection, from, before, EXPIRY_KEYS_MAX)
                    })
                    .await?;
                after = slice.last;
                if !slice.expired.is_empty() {
                    expired += self
                        .hint(move |writer, _| idempotency::delete(&writer.connection, &slice.expired, before))
                        .await?;
                }
            }
            Ok(expired)
        })
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, std::result::Result<Option<Timestamp>, Error>> {
        Box::pin(self.view(&self.scanning, |view| Ok(view.last()?.map(|event| event.recorded_at))))
    }
}
