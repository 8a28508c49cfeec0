//! Moves what the write-ahead log holds into the main file, off the commit path, and lets the write-ahead log start over.
//!
//! A passive checkpoint copies while appends go on, so it never quite catches up, and a write-ahead log that is not wholly
//! copied never starts over: under constant writing it would grow for ever. So once the bulk is copied, the writer itself,
//! between two commits, copies the little that came in meanwhile and restarts it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use runtime::{Runtime, Worker};
use rusqlite::Connection;

use super::{failure::Result, schema};

const IDLE: u8 = 0;
const COPYING: u8 = 1;
const COPIED: u8 = 2;

/// How long the writer waits for readers that still use the write-ahead log. Later readers do not: all is copied by then.
const READERS_WAIT: Duration = Duration::from_millis(20);

pub(super) struct Checkpoints {
    worker: Worker,
    connection: Arc<Mutex<Connection>>,
    state: Arc<AtomicU8>,
    /// Length of the write-ahead log after the latest commit.
    pages: Arc<AtomicU32>,
    /// When it is long enough: `pages_max`, or more after an attempt that readers were in the way of.
    due: AtomicU32,
    pages_max: u32,
}

impl Checkpoints {
    /// `writer` is the connection whose commits are counted.
    pub(super) fn new(runtime: &Runtime, path: &Path, writer: &mut Connection, pages_max: u32) -> Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = pages.clone();
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, length: std::ffi::c_int| {
            counted.store(length.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            worker: runtime.worker("command-database-checkpoint"),
            connection: Arc::new(Mutex::new(schema::connect_writing(path)?)),
            state: Arc::new(AtomicU8::new(IDLE)),
            pages,
            due: AtomicU32::new(pages_max),
            pages_max,
        })
    }

    /// Pages in the write-ahead log after the latest commit.
    pub(super) fn pages(&self) -> u32 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Whether the next commit is to start the write-ahead log over, which takes longer than a commit.
    pub(super) fn is_restart_due(&self) -> bool {
        self.state.load(Ordering::Acquire) == COPIED && self.pages() >= self.due.load(Ordering::Relaxed)
    }

    /// Called by the writer between transactions. `failed` is told of a checkpoint that failed.
    pub(super) fn after_commit(
        &self,
        writer: &Connection,
        failed: impl FnOnce(super::failure::Failure) + Send + 'static,
    ) {
        if self.pages.load(Ordering::Relaxed) < self.due.load(Ordering::Relaxed) {
            return;
        }
        match self.state.load(Ordering::Acquire) {
            IDLE => self.copy(failed),
            COPIED => {
                if let Err(failure) = self.restart(writer) {
                    failed(failure);
                }
            }
            _ => {}
        }
    }

    fn copy(&self, failed: impl FnOnce(super::failure::Failure) + Send + 'static) {
        self.state.store(COPYING, Ordering::Release);
        let (connection, state) = (self.connection.clone(), self.state.clone());
        // Nobody waits for it: it runs, and the state says when it is done.
        drop(self.worker.run(move || {
            let copied = checkpoint(&connection.lock(), "PRAGMA wal_checkpoint(PASSIVE)");
            state.store(if copied.is_ok() { COPIED } else { IDLE }, Ordering::Release);
            if let Err(failure) = copied {
                failed(failure);
            }
        }));
    }

    fn restart(&self, writer: &Connection) -> Result<()> {
        self.state.store(IDLE, Ordering::Release);
        writer.busy_timeout(READERS_WAIT)?;
        let restarted = checkpoint(writer, "PRAGMA wal_checkpoint(RESTART)");
        writer.busy_timeout(schema::BUSY_WAIT)?;
        let due = if restarted? {
            self.pages.store(0, Ordering::Relaxed);
            self.pages_max
        } else {
            // A long reader: all over again when there is something more to copy.
            self.pages.load(Ordering::Relaxed).saturating_add(self.pages_max / 16 + 1)
        };
        self.due.store(due, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether it came to its end, with nobody in the way.
fn checkpoint(connection: &Connection, statement: &str) -> Result<bool> {
    Ok(connection.query_row(statement, [], |row| row.get::<_, i64>(0))? == 0)
}
