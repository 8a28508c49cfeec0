//! Reads rows and checkpoints for whoever verifies them: past damage, which is told in its place, and without writing.

use std::path::{Path, PathBuf};

use model::{Hash, IndexValue, Lineage, ReadModel, RowKey, Tenant};
use rusqlite::{Connection, OptionalExtension, Row, types::ValueRef};

use super::{
    file, row,
    table::{FIRST_INDEX, Table},
};
use crate::{Error, Generation, checksum::checksum as checksum_of};

/// A query database that is read only, beside its writer or without one.
///
/// Unlike [`RowReader`](crate::RowReader) it blocks, trusts nothing, and gives numbers as they are stored.
pub struct RowScan {
    path: PathBuf,
    connection: Connection,
}

/// A generation as it describes itself.
#[derive(Clone, Debug)]
pub struct ScannedGeneration {
    /// Which.
    pub generation: Generation,
    /// Of which read model.
    pub name: String,
    /// The fold's version.
    pub version: u32,
    /// Shape of the rows.
    pub shape: Hash,
    /// As it was declared; `None` where that cannot be read.
    pub read_model: Option<ReadModel>,
}

/// How far a generation is said to have come.
#[derive(Clone, Debug)]
pub struct ScannedCheckpoint {
    /// Whether queries are answered from it.
    pub serving: bool,
    /// The position; 0 where nothing is folded.
    pub position: i64,
    /// The hash beside it.
    pub hash: Hash,
    /// The lineage beside it; `None` where there is none, or none that can be read.
    pub lineage: Option<Lineage>,
    /// Why it waits, if it does.
    pub held: Option<String>,
    /// Whether it was looked for in the log and not found, and is replaced or waits to be.
    pub forked: bool,
}

/// One row, as long as the scan stands on it.
#[derive(Debug)]
pub struct ScannedRow<'a> {
    /// Which.
    pub key: RowKey,
    /// JSON text, if it is still text.
    pub body: &'a [u8],
    /// The last event that touched it.
    pub position: i64,
    /// As stored.
    pub checksum: i64,
    /// Whether the columns are those that were written together.
    pub fits_checksum: bool,
    /// In the order of the generation's indexes.
    pub index: Vec<IndexValue>,
}

impl std::fmt::Debug for RowScan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RowScan").field("path", &self.path).finish_non_exhaustive()
    }
}

const CACHE_BYTES: u64 = 16 << 20;

impl RowScan {
    /// Opens the query database at `path`, which is left as it is.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Format`], [`Error::File`], [`Error::Open`], [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        file::inspect(path)?;
        Ok(Self { connection: file::reader(path, CACHE_BYTES)?, path: path.to_owned() })
    }

    /// Every generation, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn generations(&self) -> Result<Vec<ScannedGeneration>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self.connection.prepare_cached(
                "SELECT generation, read_model, version, shape, definition FROM diptych_generations ORDER BY generation",
            )?;
            let generations = statement.query_map([], |row| {
                Ok(ScannedGeneration {
                    generation: Generation(row.get::<_, i64>(0)?.cast_unsigned()),
                    name: row.get(1)?,
                    version: row.get(2)?,
                    shape: Hash::from_slice(row.get_ref(3)?.as_blob()?).unwrap_or_default(),
                    read_model: row.get_ref(4)?.as_str().ok().and_then(|text| serde_json::from_str(text).ok()),
                })
            })?;
            generations.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// Gives the checkpoint and then every row to `each`, all from one snapshot; `None` where there is no checkpoint.
    /// `each` is given what is wrong with a row instead, where it cannot be read.
    ///
    /// `read_model` names the table's columns: [`ScannedGeneration::read_model`].
    /// # Errors
    /// When the database cannot be read; `each` was called for the rows before.
    pub fn rows(
        &self,
        generation: Generation,
        read_model: &ReadModel,
        each: impl FnMut(Result<ScannedRow<'_>, (RowKey, String)>),
    ) -> Result<Option<ScannedCheckpoint>, Error> {
        self.connection.execute_batch("BEGIN").map_err(|source| self.failed(source))?;
        let read = self.try_rows(generation, read_model, each);
        let ended = self.connection.execute_batch("COMMIT");
        read.and_then(|read| ended.map(|()| read)).map_err(|source| self.failed(source))
    }

    fn try_rows(
        &self,
        generation: Generation,
        read_model: &ReadModel,
        mut each: impl FnMut(Result<ScannedRow<'_>, (RowKey, String)>),
    ) -> rusqlite::Result<Option<ScannedCheckpoint>> {
        let checkpoint = self.checkpoint(generation)?;
        let table = Table::new(generation, read_model.clone().into());
        let tenant_and_key = FIRST_INDEX + read_model.indexes.len();
        let statement = format!("SELECT {}, tenant, key FROM {}", table.row_columns(), table.name);
        let mut statement = self.connection.prepare(&statement)?;
        let mut rows = statement.query([])?;
        let mut tenant = Tenant::default();
        while let Some(row) = rows.next()? {
            let stored = text(row.get_ref(tenant_and_key)?);
            if stored != tenant.as_str() {
                tenant = Tenant::new(&stored);
            }
            let key = RowKey { tenant: tenant.clone(), key: text(row.get_ref(tenant_and_key + 1)?).into() };
            match scan(row, key.clone(), read_model.indexes.len()) {
                Ok(scanned) => each(Ok(scanned)),
                Err(error) => each(Err((key, error.to_string()))),
            }
        }
        Ok(checkpoint)
    }

    fn checkpoint(&self, generation: Generation) -> rusqlite::Result<Option<ScannedCheckpoint>> {
        // A file that no writer has opened since may not have the column yet.
        let forked = if file::has_forked(&self.connection)? { "forked IS NOT NULL" } else { "0" };
        let mut statement = self.connection.prepare(&format!(
            "SELECT serving, coalesce(position, 0), hash, epochs, held, {forked} FROM diptych_checkpoints \
             LEFT JOIN diptych_lineages USING (lineage) WHERE generation = ?1"
        ))?;
        let checkpoint = statement.query_row([generation.0.cast_signed()], |row| {
            Ok(ScannedCheckpoint {
                serving: row.get(0)?,
                position: row.get(1)?,
                hash: Hash::from_slice(row.get_ref(2)?.as_blob()?).unwrap_or_default(),
                lineage: row.get_ref(3)?.as_str().ok().and_then(|epochs| serde_json::from_str(epochs).ok()),
                held: row.get(4)?,
                forked: row.get(5)?,
            })
        });
        checkpoint.optional()
    }

    fn failed(&self, source: rusqlite::Error) -> Error {
        file::reading(&self.path, source)
    }
}

fn text(value: ValueRef<'_>) -> String {
    value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn scan<'a>(found: &'a Row<'_>, key: RowKey, indexes: usize) -> rusqlite::Result<ScannedRow<'a>> {
    let body = found.get_ref(0)?.as_bytes()?;
    let position = found.get_ref(2)?.as_i64()?;
    let index = (FIRST_INDEX..FIRST_INDEX + indexes)
        .map(|column| match found.get_ref(column)? {
            ValueRef::Null => Ok(IndexValue::Null),
            ValueRef::Text(text) => Ok(IndexValue::Text(String::from_utf8_lossy(text).into_owned())),
            value => Ok(IndexValue::Integer(value.as_i64()?)),
        })
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let checksum = found.get_ref(1)?.as_i64()?;
    let fits_checksum =
        row::position(position).is_some_and(|at| checksum_of(&mut Vec::new(), &key, at, body, &index) == checksum);
    Ok(ScannedRow { key, body, position, checksum, fits_checksum, index })
}
