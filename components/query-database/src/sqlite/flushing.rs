//! How what is in memory gets into the file, and the WAL's pages after it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use runtime::{Runtime, Worker};
use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    file,
    memtable::{Entry, Memtable, Part},
    pool::Pool,
    table::Table,
    writer::{Writer, wal_checkpoint},
};
use crate::{
    CommitOutcome, Error, Generation,
    telemetry::{OfReadModel, Telemetry},
};

/// What jobs on the writer's worker share.
#[derive(Clone)]
pub(super) struct Writing {
    pub(super) runtime: Runtime,
    pub(super) worker: Worker,
    pub(super) writer: Arc<Mutex<Writer>>,
    pub(super) mover: Worker,
    pub(super) moving: Arc<(Mutex<Connection>, AtomicBool)>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) pool: Arc<Pool>,
    pub(super) memtable: Arc<Memtable>,
    pub(super) flushing: Arc<Flushing>,
    pub(super) telemetry: Telemetry,
}

/// What is under way to bring memory into the file.
#[derive(Default)]
pub(super) struct Flushing {
    /// Somebody waits for the time to come.
    pub(super) is_planned: AtomicBool,
    /// A job is sent because there is much.
    pub(super) is_sent: AtomicBool,
    /// The last flush is under way, or over: nothing else is begun.
    pub(super) is_closing: AtomicBool,
}

/// A flush that failed is tried again after this long.
const FLUSH_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Writing {
    /// Brings what is in memory into the file. Blocks, as the rest here does.
    ///
    /// # Errors
    /// Where that fails for a generation that the caller is `concerned` with.
    pub(super) fn flush(&self, concerned: impl Fn(&Table) -> bool) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let flushed = self.flush_by(&mut writer, concerned);
        self.after(writer);
        flushed
    }

    /// `false` where it failed.
    fn flush_in_background(&self) -> bool {
        let flushed = self.flush(|_| true);
        if let Err(error) = &flushed {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(error = %error, cause, "rows stay in memory; trying again");
        }
        flushed.is_ok()
    }

    /// As [`Writing::flush`], with the writer at hand.
    fn flush_by(&self, writer: &mut Writer, concerned: impl Fn(&Table) -> bool) -> Result<(), Error> {
        let parts: Vec<Part> = self.memtable.owned().iter().filter_map(|entry| entry.begin_flush()).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let Err(error) = self.flush_parts(writer, &parts) else { return Ok(()) };
        let mut failed = Vec::new();
        if let [part] = &*parts {
            failed.push((part, error));
        } else {
            // One may be to blame for all.
            let alone = |part| self.flush_parts(writer, std::slice::from_ref(part)).err().map(|error| (part, error));
            failed.extend(parts.iter().filter_map(alone));
        }
        failed.iter().for_each(|(part, _)| part.entry.not_flushed());
        let first = failed.into_iter().find(|(part, _)| concerned(&part.entry.table));
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn flush_parts(&self, writer: &mut Writer, parts: &[Part]) -> Result<(), Error> {
        let outcomes = self.store(writer, &parts.iter().collect::<Vec<_>>())?;
        // First whoever reads from now on sees them in the file, then they leave memory.
        self.pool.committed();
        for (part, outcome) in parts.iter().zip(outcomes) {
            match outcome {
                CommitOutcome::Stored => part.entry.flushed(part),
                // The file is of another opinion, and is right.
                CommitOutcome::Fenced => self.memtable.forget(part.entry.table.generation),
            }
        }
        self.telemetry.memtable_bytes.set(i64::try_from(self.memtable.bytes()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Runs `work` on the file. Of the generations that it is `concerned` with nothing is in memory alone then, and nothing is
    /// put there until memory has learnt what the file says of them now. Readers that wait are told.
    pub(super) fn write<T>(
        &self,
        concerned: impl Fn(&Table) -> bool,
        work: impl FnOnce(&mut Writer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut writer = self.writer.lock();
        let closed = Closed::of(self.memtable.owned().into_iter().filter(|entry| concerned(&entry.table)));
        self.flush_by(&mut writer, concerned)?;
        let written = work(&mut writer);
        // Before memory tells of it, so that who then asks the file finds it there; and also after a failure: a commit may have
        // been stored although it failed.
        self.pool.committed();
        let learn = |entry: &Arc<Entry>| self.learn(&mut writer, entry.table.generation);
        let learnt = closed.entries.iter().try_for_each(learn);
        drop(closed);
        if written.is_ok() {
            self.changes.send_modify(|changes| *changes += 1);
        }
        self.after(writer);
        written.and_then(|written| learnt.map(|()| written))
    }

    /// Writes parts in one transaction, and how long that took.
    pub(super) fn store(&self, writer: &mut Writer, parts: &[&Part]) -> Result<Vec<CommitOutcome>, Error> {
        let began = self.runtime.now();
        let outcomes = writer.commit(parts);
        self.telemetry.flush_duration.observe(self.runtime.now().saturating_sub(began).as_secs_f64());
        for (part, outcome) in parts.iter().zip(outcomes.iter().flatten()) {
            if *outcome == CommitOutcome::Stored {
                let rows = part.layers.iter().map(|layer| layer.len() as u64).sum();
                self.telemetry.rows_flushed.inc_by(rows);
            }
        }
        outcomes
    }

    /// Makes memory agree with the file.
    pub(super) fn learn(&self, writer: &mut Writer, generation: Generation) -> Result<(), Error> {
        let table = writer.table(generation).map_err(|source| file::reading(&writer.path, source));
        let known = table.and_then(|table| Ok(table.zip(writer.stored(generation)?)));
        if let Ok(Some((table, stored))) = known {
            self.memtable.load(&table, stored);
            return Ok(());
        }
        // What is not known is not told either: commits are fenced, and reads go to the file.
        self.memtable.forget(generation);
        known.map(drop)
    }

    pub(super) fn after(&self, mut writer: MutexGuard<'_, Writer>) {
        let wal_is_long = writer.wal_is_long();
        drop(writer);
        if wal_is_long {
            self.clone().move_wal();
        }
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

    /// Sees to it that what was committed gets into the file.
    pub(super) fn plan_flush(self: &Arc<Self>, after: Duration) {
        let flushing = &self.flushing;
        let bytes = self.memtable.bytes();
        self.telemetry.memtable_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        if self.memtable.is_half_full(bytes) && !flushing.is_sent.swap(true, Ordering::AcqRel) {
            let writing = self.clone();
            // It runs whether or not somebody waits for it.
            drop(self.worker.run(move || {
                writing.flushing.is_sent.store(false, Ordering::Release);
                writing.flush_in_background()
            }));
        }
        if flushing.is_planned.swap(true, Ordering::AcqRel) {
            return;
        }
        let runtime = self.runtime.clone();
        // Not held while it waits: who closes the database closes it then.
        let writing = Arc::downgrade(self);
        drop(self.runtime.spawn("query-database flush", async move {
            runtime.sleep(after).await;
            while let Some(present) = writing.upgrade() {
                let worker = present.worker.clone();
                let flushed = worker.run(move || {
                    present.flushing.is_planned.store(false, Ordering::Release);
                    present.flush_in_background()
                });
                if flushed.await != Ok(false) {
                    return;
                }
                // Where somebody else has planned the next one meanwhile, that is enough.
                let is_planned = |present: Arc<Writing>| present.flushing.is_planned.swap(true, Ordering::AcqRel);
                if writing.upgrade().is_none_or(is_planned) {
                    return;
                }
                runtime.sleep(FLUSH_AGAIN_AFTER).await;
            }
        }));
    }

    /// Counts what became of a commit.
    pub(super) fn count(&self, generation: Generation, rows: usize, outcome: CommitOutcome) {
        match outcome {
            CommitOutcome::Stored => {
                if let Some(entry) = self.memtable.find(generation) {
                    let label = OfReadModel { read_model: entry.table.read_model.name.as_str().into() };
                    self.telemetry.rows_written.get_or_create(&label).inc_by(rows as u64);
                }
            }
            CommitOutcome::Fenced => drop(self.telemetry.fenced.inc()),
        }
    }
}

/// Generations that no commit is put to for now.
struct Closed {
    entries: Vec<Arc<Entry>>,
}

impl Closed {
    fn of(entries: impl Iterator<Item = Arc<Entry>>) -> Self {
        let entries: Vec<_> = entries.collect();
        entries.iter().for_each(|entry| entry.close(true));
        Self { entries }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.entries.iter().for_each(|entry| entry.close(false));
    }
}
