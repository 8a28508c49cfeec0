//! Reading connections: the point read, which is the hot path of every query, and the rows that a fold asks for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use model::RowKey;
use rusqlite::{Connection, types::ValueRef};

use super::{
    checkpoint::{self, Clock, Lineages},
    file, generations, row,
    table::{CHECKPOINT_COLUMNS, CHECKPOINT_WIDTH, FIRST_INDEX, Table},
    writer::load,
};
use crate::{Checkpoint, Error, Generation, PointRead, Row, Serving};

/// A connection and what it need not look up twice.
pub(super) struct Reader {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) lineages: Lineages,
    pub(super) clock: Clock,
    /// Few enough that looking through them beats hashing.
    tables: Vec<Arc<Table>>,
    /// By read model: which generation served when last asked. The statement itself says whether it still does.
    serving: Vec<Arc<Table>>,
}

/// A switch can overtake a read; two in a row hardly do.
const ATTEMPTS_MAX: usize = 8;

/// Generations whose statements a connection keeps.
const TABLES_MAX: usize = 256;

impl Reader {
    pub(super) fn open(path: &Path, cache_bytes: u64, clock: Clock) -> Result<Self, Error> {
        Ok(Self {
            connection: file::reader(path, cache_bytes)?,
            path: path.to_owned(),
            lineages: Lineages::default(),
            clock,
            tables: Vec::new(),
            serving: Vec::new(),
        })
    }

    /// One row and the checkpoint, in one statement.
    pub(super) fn point(&mut self, read_model: &str, key: &RowKey, now: Duration) -> Result<PointRead, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let table = self.serving(read_model)?;
            if let Some(read) = self.point_of(&table, key, now)? {
                return Ok(read);
            }
            self.serving.retain(|known| known.generation != table.generation);
        }
        Err(Error::NotServing { read_model: read_model.to_owned() })
    }

    /// As [`Self::point`], of this generation; `None` where it does not serve.
    pub(super) fn point_of(&mut self, table: &Table, key: &RowKey, now: Duration) -> Result<Option<PointRead>, Error> {
        let Self { path, connection, lineages, clock, .. } = self;
        let failed = |source| file::reading(path, source);
        let mut statement = connection.prepare_cached(&table.point).map_err(failed)?;
        statement.raw_bind_parameter(1, key.tenant.as_str()).map_err(failed)?;
        statement.raw_bind_parameter(2, &*key.key).map_err(failed)?;
        let mut rows = statement.raw_query();
        let Some(found) = rows.next().map_err(failed)? else {
            return Ok(None);
        };
        let checkpoint = checkpoint::read(connection, lineages, found, table.generation, *clock, now);
        let Some(checkpoint) = checkpoint.map_err(failed)? else {
            return Ok(None);
        };
        if found.get_ref(CHECKPOINT_WIDTH).map_err(failed)? == ValueRef::Null {
            return Ok(Some(PointRead { row: None, checkpoint }));
        }
        let body = row::body(found, CHECKPOINT_WIDTH, key.tenant.as_str(), &key.key).map_err(failed)?;
        let (body, position) = body.ok_or_else(|| corrupt(table, key))?;
        Ok(Some(PointRead { row: Some(Row { body, position }), checkpoint }))
    }

    /// The checkpoint of the generation that serves.
    pub(super) fn checkpoint(&mut self, read_model: &str, now: Duration) -> Result<Checkpoint, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let generation = self.serving(read_model)?.generation;
            let read = self.checkpoint_of(generation, now).map_err(|source| file::reading(&self.path, source))?;
            if let Some(checkpoint) = read {
                return Ok(checkpoint);
            }
            self.serving.retain(|known| known.generation != generation);
        }
        Err(Error::NotServing { read_model: read_model.to_owned() })
    }

    pub(super) fn checkpoint_of(
        &mut self,
        generation: Generation,
        now: Duration,
    ) -> rusqlite::Result<Option<Checkpoint>> {
        let Self { connection, lineages, clock, .. } = self;
        let mut statement = connection.prepare_cached(checkpoint_statement())?;
        let mut rows = statement.query([generation.0.cast_signed()])?;
        match rows.next()? {
            Some(found) => checkpoint::read(connection, lineages, found, generation, *clock, now),
            None => Ok(None),
        }
    }

    /// The generation that serves now.
    pub(super) fn serving_now(&mut self, read_model: &str) -> Result<Serving, Error> {
        self.serving.retain(|known| known.read_model.name != read_model);
        let table = self.serving(read_model)?;
        Ok(Serving { generation: table.generation, read_model: table.read_model.clone() })
    }

    /// The generation that served when last asked.
    pub(super) fn serving(&mut self, read_model: &str) -> Result<Arc<Table>, Error> {
        if let Some(known) = self.serving.iter().find(|known| known.read_model.name == read_model) {
            return Ok(known.clone());
        }
        let serving = generations::serving(&self.connection, read_model);
        let Some(generation) = serving.map_err(|source| file::reading(&self.path, source))? else {
            return Err(Error::NotServing { read_model: read_model.to_owned() });
        };
        let table = self.table(generation)?;
        self.serving.push(table.clone());
        Ok(table)
    }

    pub(super) fn table(&mut self, generation: Generation) -> Result<Arc<Table>, Error> {
        if let Some(known) = self.tables.iter().find(|known| known.generation == generation) {
            return Ok(known.clone());
        }
        let loaded = load(&self.connection, generation).map_err(|source| file::reading(&self.path, source))?;
        let table = Arc::new(loaded.ok_or(Error::NoGeneration { generation })?);
        if self.tables.len() == TABLES_MAX {
            self.tables.clear();
        }
        self.tables.push(table.clone());
        Ok(table)
    }

    /// The rows of `keys` from one snapshot, in their order.
    pub(super) fn rows(&mut self, generation: Generation, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        let table = self.table(generation)?;
        let failed = |source| file::reading(&self.path, source);
        let snapshot = self.connection.unchecked_transaction().map_err(failed)?;
        let mut statement = snapshot.prepare_cached(&table.row).map_err(failed)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let body = body_of(&mut statement, &table, key).map_err(failed)?;
            found.push(body.map(|body| body.ok_or_else(|| corrupt(&table, key))).transpose()?);
        }
        Ok(found)
    }
}

/// The body of one row; `Some(None)` where it is damaged.
fn body_of(
    statement: &mut rusqlite::Statement<'_>,
    table: &Table,
    key: &RowKey,
) -> rusqlite::Result<Option<Option<Bytes>>> {
    statement.raw_bind_parameter(1, key.tenant.as_str())?;
    statement.raw_bind_parameter(2, &*key.key)?;
    let mut rows = statement.raw_query();
    let Some(found) = rows.next()? else {
        return Ok(None);
    };
    let sound = row::indexes_are_sound(found, 1, FIRST_INDEX, table.read_model.indexes.len())?;
    let body = row::body(found, 0, key.tenant.as_str(), &key.key)?;
    Ok(Some(body.filter(|_| sound).map(|(body, _)| body)))
}

pub(super) fn corrupt(table: &Table, key: &RowKey) -> Error {
    Error::Corrupt { read_model: table.read_model.name.clone(), key: key.key.to_string() }
}

fn checkpoint_statement() -> &'static str {
    static STATEMENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!("SELECT {CHECKPOINT_COLUMNS} FROM diptych_checkpoints AS c WHERE c.generation = ?1")
    });
    &STATEMENT
}
