//! Another life of the log begins.

use std::sync::Arc;

use model::{Epoch, EpochId, Position};
use rusqlite::params;

use super::{
    Log, SqliteEventStore,
    failure::Failure,
    row::number,
    writer::{AppendFailure, Writer},
};
use crate::Error;

impl SqliteEventStore {
    /// Begins another life of the log: what is appended from now on belongs to it. Durable when it returns.
    ///
    /// To be called on a log that was restored from a copy, or moved, before anything is appended to it. Its former state may
    /// have gone on after the copy was taken: the new epoch is what tells the positions that are given again from those that
    /// were given then. Its id is a fresh one, so that two restores of one copy are told apart too.
    /// # Errors
    /// As [`EventStore::append`](crate::EventStore::append): after [`Error::Commit`] whether it has begun is unknown until
    /// recovery; that one more begins then does no harm.
    pub async fn begin_epoch(&self) -> Result<Epoch, Error> {
        let log = self.log.clone();
        self.writing.run(move || log.begin_epoch()).await.map_err(|_| Error::WorkerGone)?
    }
}

impl Log {
    fn begin_epoch(self: &Arc<Self>) -> Result<Epoch, Error> {
        let mut writer = self.begin_job()?;
        let (id, began) = (EpochId(self.runtime.uuid()), self.runtime.wall_clock().as_microsecond());
        writer.begin_epoch(id, began).map_err(|failure| match failure {
            AppendFailure::Write(failure) => self.failure(failure, Failure::while_writing),
            AppendFailure::Commit(failure) => self.failure(failure, Failure::while_committing),
        })
    }
}

impl Writer {
    pub(super) fn begin_epoch(&mut self, id: EpochId, began: i64) -> Result<Epoch, AppendFailure> {
        if let Err(failure) = self.sync_again().and_then(|()| self.begin()).and_then(|()| self.write_epoch(id, began)) {
            return Err(self.roll_back(AppendFailure::Write(failure)));
        }
        if let Err(failure) = self.commit() {
            return Err(self.roll_back(AppendFailure::Commit(failure)));
        }
        self.tail.epoch = id;
        Ok(Epoch { id, first: Position::after(self.tail.head) })
    }

    fn write_epoch(&self, id: EpochId, began: i64) -> super::failure::Result<()> {
        let first = number(Position::after(self.tail.head).get());
        self.connection.execute(
            "INSERT INTO lineage SELECT max(ordinal) + 1, ?1, ?2, ?3 FROM lineage",
            params![id.0.as_bytes(), first, began],
        )?;
        Ok(())
    }
}
