//! The embedded log as the target of a copy. The copy is made by the log's own writer, command after command, at the times and
//! in the epochs of the original: the hashes that come out have to be the same.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use model::{EpochId, EventId, NewEvent};
use rusqlite::params;

use super::{
    failure::{Failure, Result, name},
    idempotency,
    row::number,
    schema::{self, FirstEpoch},
    wal::Wal,
    writer::{AppendFailure, Writer},
};
use crate::{
    Append, Contents, CopiedEvent, CopiedRecord, CopyTarget, Decision, Error, ExpectedVersion, Progress,
    chain::Prepared,
};

/// A log that a copy is written into. It is not taken up again: whoever is interrupted removes it and begins anew.
pub struct SqliteCopy {
    path: PathBuf,
    /// `None` before the copy has begun.
    writer: Option<Writer>,
    /// A command whose events are not all here yet.
    rest: Vec<CopiedEvent>,
}

impl std::fmt::Debug for SqliteCopy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SqliteCopy").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteCopy {
    /// For a log at `path`, where nothing is.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), writer: None, rest: Vec::new() }
    }

    /// Begins the life `epoch` and closes the file, all of it durable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self, epoch: EpochId, now: i64) -> std::result::Result<(), Error> {
        let mut writer = self.begun()?;
        writer.begin_epoch(epoch, now).map_err(|failure| match failure {
            AppendFailure::Write(failure) => failure.while_writing(&self.path),
            AppendFailure::Commit(failure) => failure.while_committing(&self.path),
        })?;
        let closed = writer.finish_index().and_then(|()| {
            writer.sync_again()?;
            truncate_wal(&writer)
        });
        closed.map_err(|failure| failure.while_committing(&self.path))?;
        drop(writer);
        let synced = File::open(&self.path).and_then(|file| file.sync_all());
        synced.map_err(|source| Error::File { log: name(&self.path), source })
    }

    fn begun(&mut self) -> std::result::Result<Writer, Error> {
        self.writer.take().ok_or_else(|| Error::Damaged {
            log: name(&self.path),
            found: "a copy that has not begun cannot go on".to_owned(),
        })
    }

    /// Runs `write` in one transaction.
    fn within(&mut self, write: impl FnOnce(&mut Self, &mut Writer) -> Result<()>) -> std::result::Result<(), Error> {
        let mut writer = self.begun()?;
        let written = writer.begin().and_then(|()| write(self, &mut writer)).and_then(|()| writer.commit());
        let written = written.and_then(|()| truncate_wal(&writer));
        self.writer = Some(writer);
        written.map_err(|failure| failure.while_writing(&self.path))
    }

    fn write(&mut self, writer: &mut Writer, events: &[CopiedEvent]) -> Result<()> {
        let mut commands = std::mem::take(&mut self.rest);
        commands.extend_from_slice(events);
        let mut rest = &commands[..];
        while let Some(first) = rest.first() {
            let count = first.event.command_events as usize;
            if rest.len() < count {
                break;
            }
            let (command, after) = rest.split_at(count.max(1));
            self.write_command(writer, command)?;
            rest = after;
        }
        self.rest = rest.to_vec();
        Ok(())
    }

    fn write_command(&self, writer: &mut Writer, events: &[CopiedEvent]) -> Result<()> {
        let Some(CopiedEvent { event: first, .. }) = events.first() else { return Ok(()) };
        let corrupt = |found: &str| Failure::corrupt(first.position.get(), found);
        let is_whole = events.iter().enumerate().all(|(index, copied)| {
            let id = EventId::derived(first.command_id, copied.command_index);
            (copied.command_index as usize, copied.event.command_id, copied.event.event_id)
                == (index, first.command_id, id)
        });
        if !is_whole {
            return Err(corrupt("the events of its command do not stand together"));
        }
        writer.tail.epoch = first.epoch;
        let prepared = [Prepared::new(vec![append(events)])];
        let written = writer.write(&prepared, first.recorded_at.as_microsecond(), Duration::ZERO)?;
        let is_same = written.appended.events.iter().zip(events).all(|(ours, theirs)| **ours == theirs.event);
        if !is_same || written.appended.events.len() != events.len() {
            return Err(corrupt("written again, it is another event"));
        }
        writer.tail = written.tail;
        writer.index().lock().moved(written.moved);
        Ok(())
    }
}

/// The command as it was when it was appended.
fn append(events: &[CopiedEvent]) -> Append {
    let first = &events[0].event;
    let new = |CopiedEvent { event, .. }: &CopiedEvent| NewEvent {
        event_type: event.event_type.clone(),
        payload: event.payload.clone(),
    };
    Append {
        stream: first.stream.clone(),
        expected: ExpectedVersion::Any,
        command_id: first.command_id,
        decision: Decision::Accepted(events.iter().map(new).collect()),
        metadata: first.metadata.clone(),
        idempotency: None,
    }
}

/// All of it in the file itself, so that the write-ahead log does not grow with the copy.
fn truncate_wal(writer: &Writer) -> Result<()> {
    Ok(writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

fn start(path: &Path, contents: &Contents) -> Result<Writer> {
    let connection = schema::connect_writing(path)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for (ordinal, epoch) in (1_i64..).zip(&contents.epochs).skip(1) {
        connection.execute(
            "INSERT INTO lineage VALUES (?1, ?2, ?3, ?4)",
            params![ordinal, epoch.id.0.as_bytes(), number(epoch.first.get()), epoch.began],
        )?;
    }
    let clock = i64::try_from(contents.clock.as_secs()).unwrap_or(i64::MAX);
    connection.execute("UPDATE clock SET elapsed = ?1", [clock])?;
    let relayed = contents.relayed.map(|position| number(position.get()));
    connection.execute("UPDATE relay SET cursor = ?1", [relayed])?;
    connection.execute_batch("COMMIT")?;
    Writer::open(connection, Wal::of(path, 0), Duration::ZERO)
}

impl CopyTarget for SqliteCopy {
    fn begin(&mut self, contents: &Contents) -> std::result::Result<Progress, Error> {
        let Some(first) = contents.epochs.first() else {
            let found = "what is copied has no epoch".to_owned();
            return Err(Error::Damaged { log: name(&self.path), found });
        };
        if self.path.exists() {
            let found = "a file is there already".to_owned();
            return Err(Error::NotEmpty { log: name(&self.path), found });
        }
        schema::prepare(&self.path, || FirstEpoch { id: first.id.0, began: first.began })?;
        self.writer = Some(start(&self.path, contents).map_err(|failure| failure.while_opening(&self.path))?);
        Ok(Progress::default())
    }

    fn records(&mut self, records: &[CopiedRecord]) -> std::result::Result<(), Error> {
        self.within(|_, writer| {
            for CopiedRecord { key, record, elapsed } in records {
                // A second too much keeps a record longer, one too little could end it early.
                let elapsed = i64::try_from(elapsed.as_micros().div_ceil(1_000_000)).unwrap_or(i64::MAX);
                idempotency::insert(&writer.connection, key, record, elapsed)?;
            }
            Ok(())
        })
    }

    fn events(&mut self, events: &[CopiedEvent]) -> std::result::Result<(), Error> {
        self.within(|copy, writer| copy.write(writer, events))
    }
}
