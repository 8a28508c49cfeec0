//! A generation's indexes: made when it is filled, not before (ADR 0014).
//!
//! An entry of an index goes to a place of its own, so that filling a table together with its indexes writes several pages
//! a row. Made from a table that has its rows, an index is sorted once and written from its beginning to its end.

use std::sync::{Arc, atomic::Ordering};

use rusqlite::Connection;

use super::{file, flushing::Writing, table::Table, writer::Writer};
use crate::{Error, Generation};

impl Table {
    /// Whether all its indexes are there. None is ever dropped, so that what was seen once holds.
    pub(super) fn is_indexed(&self, connection: &Connection) -> rusqlite::Result<bool> {
        if !self.indexed.load(Ordering::Relaxed) {
            let is_indexed = self.missing_index(connection)?.is_none();
            self.indexed.store(is_indexed, Ordering::Relaxed);
        }
        Ok(self.indexed.load(Ordering::Relaxed))
    }

    /// The statement that makes the first index that is not there.
    fn missing_index(&self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        let mut there = connection.prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?1")?;
        for place in 0..self.read_model.indexes.len() {
            if !there.exists([self.index_name(place)])? {
                return Ok(self.create_index(place));
            }
        }
        Ok(None)
    }
}

impl Writer {
    /// Makes one index that the generation lacks, if it lacks any.
    pub(super) fn make_index(&mut self, generation: Generation) -> Result<bool, Error> {
        let table = self.table(generation).map_err(|source| file::reading(&self.path, source))?;
        let Some(table) = table else { return Ok(false) };
        let missing = table.missing_index(&self.connection).map_err(|source| file::reading(&self.path, source))?;
        let Some(missing) = missing else { return Ok(false) };
        self.transact(|writer| writer.connection.execute_batch(&missing).map(Some))?;
        self.wrote_much();
        Ok(true)
    }
}

impl Writing {
    /// Sees to it that the generation has all its indexes: one at a time, so that what waits for the writer gets in between.
    /// What has begun when the future is dropped is finished.
    pub(super) async fn make_indexes(self: Arc<Self>, generation: Generation) -> Result<(), Error> {
        loop {
            let writing = self.clone();
            let made = self.worker.run(move || {
                let mut writer = writing.writer.lock();
                // Whoever closes the database has waited for the one before.
                let is_closing = writing.flushing.is_closing.load(Ordering::Relaxed);
                let made = if is_closing { Ok(false) } else { writer.make_index(generation) };
                writing.after(writer);
                made
            });
            if !made.await.unwrap_or(Err(Error::WorkerGone))? {
                return Ok(());
            }
        }
    }

    /// Brings what is in memory into the file, and then makes what the generation lacks. Should that fail, whoever needs the
    /// indexes tries again.
    pub(super) async fn finish(self: Arc<Self>, generation: Generation) {
        let writing = self.clone();
        let flushed = self.worker.run(move || writing.flush(|table| table.generation == generation)).await;
        let made = match flushed.unwrap_or(Err(Error::WorkerGone)) {
            Ok(()) => self.make_indexes(generation).await,
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(generation = %generation, error = %error, cause, "indexes could not be made; lists try again");
        }
    }
}
