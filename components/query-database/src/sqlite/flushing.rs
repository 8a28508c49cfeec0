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
    memtable::{Memtable, Part},
    pool::Pool,
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
}

/// A flush that failed is tried again after this long.
const FLUSH_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Writing {
    /// Brings what is in memory into the file. Blocks, as the rest here does.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        self.flush_by(&mut writer)?;
        self.after(writer);
        Ok(())
    }

    /// `false` where it failed.
    fn flush_in_background(&self) -> bool {
        let flushed = self.flush();
        if let Err(error) = &flushed {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(error = %error, cause, "rows stay in memory; trying again");
        }
        flushed.is_ok()
    }

    /// As [`Writing::flush`], with the writer at hand.
    pub(super) fn flush_by(&self, writer: &mut Writer) -> Result<(), Error> {
        let parts: Vec<Part> = self.memtable.owned().iter().filter_map(|entry| entry.begin_flush()).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let all: Vec<&Part> = parts.iter().collect();
        let outcomes = self.store(writer, &all);
        match outcomes {
            Ok(outcomes) => {
                self.flushed(&parts, &outcomes);
                Ok(())
            }
            Err(error) if parts.len() == 1 => {
                parts.iter().for_each(|part| part.entry.not_flushed());
                Err(error)
            }
            // One may be to blame for all.
            Err(_) => {
                let mut failed = None;
                for part in parts {
                    match self.store(writer, &[&part]) {
                        Ok(outcomes) => self.flushed(std::slice::from_ref(&part), &outcomes),
                        Err(error) => {
                            part.entry.not_flushed();
                            failed = Some(error);
                        }
                    }
                }
                failed.map_or(Ok(()), Err)
            }
        }
    }

    /// Writes parts in one transaction, and how long that took.
    pub(super) fn store(&self, writer: &mut Writer, parts: &[&Part]) -> Result<Vec<CommitOutcome>, Error> {
        let began = self.runtime.now();
        let outcomes = writer.commit(parts);
        self.telemetry.commit_duration.observe(self.runtime.now().saturating_sub(began).as_secs_f64());
        outcomes
    }

    /// What became of these parts.
    fn flushed(&self, parts: &[Part], outcomes: &[CommitOutcome]) {
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
    }

    /// Makes memory agree with the file; `false` where it is further than that.
    pub(super) fn learn(&self, writer: &mut Writer, generation: Generation) -> Result<bool, Error> {
        let table = writer.table(generation).map_err(|source| file::reading(&writer.path, source))?;
        Ok(match (table, writer.stored(generation)?) {
            (Some(table), Some(stored)) => self.memtable.load(&table, stored),
            _ => {
                self.memtable.forget(generation);
                true
            }
        })
    }

    /// Whatever there is to do after a write. Readers that wait are told.
    pub(super) fn written(&self, writer: MutexGuard<'_, Writer>, is_stored: bool) {
        // Also after a failure: a commit may have been stored although it failed.
        self.pool.committed();
        if is_stored {
            self.changes.send_modify(|changes| *changes += 1);
        }
        self.after(writer);
    }

    fn after(&self, mut writer: MutexGuard<'_, Writer>) {
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
