//! The one writer: commits, and whatever else changes a checkpoint.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use model::Lineage;
use rusqlite::{Connection, OptionalExtension};

use super::{
    SqliteConfig,
    checkpoint::{self, Clock, Lineages, Stored},
    file,
    memtable::Part,
    row::number,
    table::Table,
    write,
};
use crate::{CommitOutcome, Error, Generation, HeadSeen, OwnerToken};

/// The writing connection and what it need not look up twice. Used by the database's worker.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) tables: BTreeMap<Generation, Arc<Table>>,
    /// The number of the lineage last stored.
    lineage: Option<(Arc<Lineage>, i64)>,
    /// Which process's time `head_seen_at` is in.
    pub(super) clock: Clock,
    lineages: Lineages,
    /// At most so many pages were written to the WAL since its length was last asked for.
    unmoved_pages: u64,
    /// At most so many of them by the latest commit.
    latest_pages: u64,
}

/// Pages in the WAL from which on they are moved into the file; more while commits are so large that it would be every few.
/// What comes in during the move is moved between two commits, so a longer WAL is a longer pause for read models that keep up.
const WAL_PAGES: u64 = 4_000;
const WAL_COMMITS: u64 = 8;
const WAL_PAGES_MAX: u64 = 4 * WAL_PAGES;

/// Pages in the WAL from which on readers are waited for, shortly, so that it can start over.
const WAL_PAGES_TOO_MANY: u64 = 4 * WAL_PAGES_MAX;

impl Writer {
    pub(super) fn open(path: &Path, config: &SqliteConfig, clock: Clock) -> Result<Self, Error> {
        let connection = file::writer(path, config.writer_cache_bytes)?;
        if let Some(bytes_max) = config.file_bytes_max {
            file::limit(&connection, bytes_max).map_err(|source| file::reading(path, source))?;
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
            tables: BTreeMap::new(),
            lineage: None,
            clock,
            lineages: Lineages::default(),
            unmoved_pages: 0,
            latest_pages: 0,
        })
    }

    /// Runs `work` in one transaction. Where it returns `None`, or fails, nothing is stored.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<Option<T>>,
    ) -> Result<Option<T>, Error> {
        if !self.connection.is_autocommit() {
            // A job that panicked left its transaction open.
            self.lineage = None;
            self.run("ROLLBACK").map_err(|source| file::writing(&self.path, source))?;
        }
        self.run("BEGIN IMMEDIATE").map_err(|source| file::writing(&self.path, source))?;
        let worked = match work(self) {
            Ok(Some(output)) => match self.run("COMMIT") {
                Ok(()) => return Ok(Some(output)),
                Err(source) => Err(file::committing(&self.path, source)),
            },
            Ok(None) => Ok(None),
            Err(source) => Err(file::writing(&self.path, source)),
        };
        // The number of a lineage that this transaction stored is void.
        self.lineage = None;
        // Some failures have rolled back already.
        if !self.connection.is_autocommit() {
            self.run("ROLLBACK").map_err(|source| file::writing(&self.path, source))?;
        }
        worked
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.raw_execute().map(drop)
    }

    /// Stores, in one transaction, of each part rows and checkpoint, or nothing where it is fenced.
    pub(super) fn commit(&mut self, parts: &[&Part]) -> Result<Vec<CommitOutcome>, Error> {
        let mut pages = 1;
        let stored = self.transact(|writer| {
            let mut outcomes = Vec::with_capacity(parts.len());
            for part in parts {
                // First the checkpoint: whoever is fenced has not written a row.
                if !writer.advance(part)? {
                    outcomes.push(CommitOutcome::Fenced);
                    continue;
                }
                let rows = part.rows();
                pages += rows.len() * (1 + part.entry.table.read_model.indexes.len());
                write::rows(&writer.connection, &part.entry.table, rows)?;
                outcomes.push(CommitOutcome::Stored);
            }
            let is_any_stored = outcomes.contains(&CommitOutcome::Stored);
            Ok(is_any_stored.then_some(outcomes))
        })?;
        self.latest_pages = pages as u64;
        self.unmoved_pages += self.latest_pages;
        Ok(stored.unwrap_or_else(|| vec![CommitOutcome::Fenced; parts.len()]))
    }

    /// Moves the checkpoint on, if the owner and the old checkpoint are still the same.
    fn advance(&mut self, part: &Part) -> rusqlite::Result<bool> {
        let lineage = self.lineage(&part.lineage)?;
        let advanced = self
            .connection
            .prepare_cached(
                "UPDATE diptych_checkpoints SET position = ?1, hash = ?2, lineage = ?3, head = ?4, head_seen_at = ?5, \
                 clock = ?6 WHERE generation = ?7 AND owner = ?8 AND position IS ?9",
            )?
            .execute((
                part.to.map(number),
                part.hash.0,
                lineage,
                part.head.map(number),
                part.seen_at,
                self.clock.id,
                part.entry.table.generation.0.cast_signed(),
                part.owner.0.cast_signed(),
                part.from.map(number),
            ))?;
        Ok(advanced == 1)
    }

    /// A generation's checkpoint as it is in the file.
    pub(super) fn stored(&mut self, generation: Generation) -> Result<Option<Stored>, Error> {
        let Self { connection, lineages, clock, path, .. } = self;
        checkpoint::stored(connection, lineages, generation, *clock).map_err(|source| file::reading(path, source))
    }

    /// Stores the head as seen for whichever of these owners still own their generation.
    pub(super) fn refresh_head(
        &mut self,
        owned: &[(Generation, OwnerToken)],
        lineage: &Arc<Lineage>,
        head: HeadSeen,
        seen_at: i64,
    ) -> Result<(), Error> {
        self.transact(|writer| {
            let lineage = writer.lineage(lineage)?;
            let mut statement = writer.connection.prepare_cached(
                "UPDATE diptych_checkpoints SET lineage = ?1, head = ?2, head_seen_at = ?3, clock = ?4 \
                 WHERE generation = ?5 AND owner = ?6",
            )?;
            for (generation, owner) in owned {
                statement.execute((
                    lineage,
                    head.position.map(number),
                    seen_at,
                    writer.clock.id,
                    generation.0.cast_signed(),
                    owner.0.cast_signed(),
                ))?;
            }
            Ok(Some(()))
        })?;
        self.unmoved_pages += 1;
        Ok(())
    }

    /// Stores why a generation waits.
    pub(super) fn hold(
        &mut self,
        generation: Generation,
        owner: OwnerToken,
        reason: Option<&str>,
    ) -> Result<CommitOutcome, Error> {
        let held = self.transact(|writer| {
            let held = writer
                .connection
                .prepare_cached("UPDATE diptych_checkpoints SET held = ?1 WHERE generation = ?2 AND owner = ?3")?
                .execute((reason, generation.0.cast_signed(), owner.0.cast_signed()))?;
            Ok((held == 1).then_some(()))
        })?;
        Ok(held.map_or(CommitOutcome::Fenced, |()| CommitOutcome::Stored))
    }

    pub(super) fn lineage(&mut self, lineage: &Arc<Lineage>) -> rusqlite::Result<i64> {
        if let Some((known, number)) = &self.lineage
            && (Arc::ptr_eq(known, lineage) || known == lineage)
        {
            return Ok(*number);
        }
        let epochs =
            serde_json::to_string(lineage).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        self.connection
            .prepare_cached("INSERT INTO diptych_lineages (epochs) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([&epochs])?;
        let number = self
            .connection
            .prepare_cached("SELECT lineage FROM diptych_lineages WHERE epochs = ?1")?
            .query_row([&epochs], |row| row.get(0))?;
        self.lineage = Some((lineage.clone(), number));
        Ok(number)
    }

    pub(super) fn table(&mut self, generation: Generation) -> rusqlite::Result<Option<Arc<Table>>> {
        if let Some(known) = self.tables.get(&generation) {
            return Ok(Some(known.clone()));
        }
        let table = load(&self.connection, generation)?.map(Arc::new);
        if let Some(table) = &table {
            self.tables.insert(generation, table.clone());
        }
        Ok(table)
    }

    /// Whether the WAL has grown enough to be worth moving into the file.
    pub(super) fn wal_is_long(&mut self) -> bool {
        let many = WAL_PAGES.max(WAL_COMMITS * self.latest_pages).min(WAL_PAGES_MAX);
        if self.unmoved_pages < many {
            return false;
        }
        // Asked now and then only; what cannot be asked now is asked after the next commit.
        let (pages, moved) = wal_checkpoint(&self.connection, "NOOP").unwrap_or((0, 0));
        self.unmoved_pages = pages.saturating_sub(moved);
        let long = self.unmoved_pages >= many;
        if long {
            self.unmoved_pages = 0;
        }
        long
    }

    /// Notes that many pages may have been written, so that it is asked how many.
    pub(super) fn wrote_much(&mut self) {
        self.unmoved_pages = WAL_PAGES_MAX;
    }

    /// Moves the pages that came in while the others were moved, so that the next commit finds none left and starts the WAL
    /// over. Only a pause between two commits allows that.
    pub(super) fn finish_wal(&self) -> rusqlite::Result<()> {
        let (pages, _) = wal_checkpoint(&self.connection, "PASSIVE")?;
        if pages < WAL_PAGES_TOO_MANY {
            return Ok(());
        }
        self.connection.busy_timeout(READERS_WAITED_FOR)?;
        let restarted = wal_checkpoint(&self.connection, "RESTART");
        self.connection.busy_timeout(WRITERS_WAITED_FOR)?;
        restarted.map(drop)
    }
}

const READERS_WAITED_FOR: Duration = Duration::from_millis(20);
const WRITERS_WAITED_FOR: Duration = Duration::from_secs(5);

/// Pages in the WAL, and how many of them are in the file as well.
pub(super) fn wal_checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(u64, u64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let pages = |column| row.get(column).map(|pages: i64| u64::try_from(pages).unwrap_or(0));
        Ok((pages(1)?, pages(2)?))
    })
}

/// A generation as it was declared.
pub(super) fn load(connection: &Connection, generation: Generation) -> rusqlite::Result<Option<Table>> {
    let definition: Option<String> = connection
        .prepare_cached("SELECT definition FROM diptych_generations WHERE generation = ?1")?
        .query_row([generation.0.cast_signed()], |row| row.get(0))
        .optional()?;
    let Some(definition) = definition else {
        return Ok(None);
    };
    let read_model = serde_json::from_str(&definition)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(Some(Table::new(generation, Arc::new(read_model))))
}
