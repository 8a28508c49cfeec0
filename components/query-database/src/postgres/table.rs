//! A generation's table, and the statements on it.
//!
//! Its names are made of the generation's number and the places of its indexes alone, so that none needs quotes or is too
//! long for PostgreSQL, which cuts names at 63 bytes without a word. The view called as the read model has the declared names.

use std::{fmt::Write as _, sync::Arc};

use model::ReadModel;
use uuid::Uuid;

use super::{checkpoint::COLUMNS, schema::SCHEMA, values};
use crate::{Error, Generation};

/// The first index column of a row as it is read; before it come body, checksum and position.
pub(super) const FIRST_INDEX: usize = 3;

/// A generation and the statements that connections prepare for it.
pub(super) struct Table {
    pub(super) generation: Generation,
    /// Tells it from one that had its number in another life of this database: a failover may lose the last ones that were made.
    pub(super) id: Uuid,
    pub(super) read_model: Arc<ReadModel>,
    /// The read model's name as metrics share it.
    pub(super) metric: Arc<str>,
    pub(super) name: String,
    /// Checkpoint and row, the row's columns NULL where there is none. Of generation `$1` and id `$2`.
    pub(super) point: String,
    /// The rows of many keys in their order, as their folds need them.
    pub(super) rows: String,
    pub(super) put: String,
    pub(super) delete: String,
}

impl Table {
    pub(super) fn new(generation: Generation, id: Uuid, read_model: Arc<ReadModel>) -> Self {
        let name = format!("{SCHEMA}.rows_{generation}");
        let columns: String =
            (0..read_model.indexes.len()).fold(String::new(), |list, place| list + &format!(", i{place}"));
        let of_row = |alias: &str| {
            let row = format!("{alias}.body, {alias}.checksum, {alias}.position");
            (0..read_model.indexes.len()).fold(row, |list, place| list + &format!(", {alias}.i{place}"))
        };
        Self {
            point: format!(
                "SELECT {COLUMNS}, r.body, r.checksum, r.position FROM {SCHEMA}.checkpoints AS c \
                 LEFT JOIN {name} AS r ON r.tenant = $3 AND r.key = $4 WHERE c.generation = $1 AND c.id = $2"
            ),
            rows: format!(
                "SELECT {} FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (tenant, key, place) \
                 LEFT JOIN {name} AS r ON r.tenant = k.tenant AND r.key = k.key ORDER BY k.place",
                of_row("r")
            ),
            put: put(&name, &columns, &read_model),
            delete: format!(
                "DELETE FROM {name} AS r USING unnest($1::text[], $2::text[]) AS k (tenant, key) \
                 WHERE r.tenant = k.tenant AND r.key = k.key"
            ),
            metric: read_model.name.as_str().into(),
            generation,
            id,
            read_model,
            name,
        }
    }

    /// What a list selects: a row, all its index columns, and its key after them.
    pub(super) fn listed_columns(&self) -> String {
        let row = "body, checksum, position".to_owned();
        (0..self.read_model.indexes.len()).fold(row, |list, place| list + &format!(", i{place}")) + ", key"
    }

    /// Makes the table and its indexes. Every list is one of a tenant's rows, so the tenant leads every index; the key, which
    /// decides last, ends it.
    ///
    /// A tenth of each page stays free, so that a row whose indexed fields did not change is rewritten in its page, and no
    /// index with it.
    pub(super) fn create(&self) -> String {
        let Self { name, generation, .. } = self;
        let mut sql = format!(
            "CREATE TABLE {name} (tenant text COLLATE \"C\" NOT NULL, key text COLLATE \"C\" NOT NULL, body text NOT NULL, \
             checksum bigint NOT NULL, position bigint NOT NULL"
        );
        // Writing to a String does not fail.
        for (place, index) in self.read_model.indexes.iter().enumerate() {
            let _ = write!(sql, ", i{place} {}", values::column_type(index.kind));
        }
        let _ = write!(sql, ", PRIMARY KEY (tenant, key)) WITH (fillfactor = 90);");
        for place in 0..self.read_model.indexes.len() {
            let _ = write!(sql, "CREATE INDEX rows_{generation}_i{place} ON {name} (tenant, i{place}, key);");
        }
        sql
    }

    /// Takes away the index at `place`, if it is still there.
    pub(super) fn drop_index(&self, place: usize) -> String {
        format!("DROP INDEX IF EXISTS {SCHEMA}.rows_{}_i{place}", self.generation)
    }

    /// Lets the view called as the read model show this generation: a column for each field, for whoever asks with SQL.
    pub(super) fn show(&self) -> String {
        let view = format!("{SCHEMA}.{}", quoted(&self.read_model.name));
        let mut columns = String::from("tenant AS _tenant, key AS _key, position AS _position");
        for field in self.read_model.fields.iter().filter(|field| field.name.len() <= IDENTIFIER_BYTES_MAX) {
            let _ = write!(columns, ", body::json ->> {} AS {}", literal(&field.name), quoted(&field.name));
        }
        format!("DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS SELECT {columns} FROM {};", self.name)
    }
}

fn put(name: &str, columns: &str, read_model: &ReadModel) -> String {
    let mut arrays = "$1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]".to_owned();
    let mut set = "body = excluded.body, checksum = excluded.checksum, position = excluded.position".to_owned();
    for (place, index) in read_model.indexes.iter().enumerate() {
        let _ = write!(arrays, ", ${}::{}", 6 + place, values::array_type(index.kind));
        let _ = write!(set, ", i{place} = excluded.i{place}");
    }
    format!(
        "INSERT INTO {name} (tenant, key, body, checksum, position{columns}) SELECT * FROM unnest({arrays}) \
         ON CONFLICT (tenant, key) DO UPDATE SET {set}"
    )
}

/// PostgreSQL cuts off what is longer.
const IDENTIFIER_BYTES_MAX: usize = 63;

fn literal(text: &str) -> String {
    // As an escape string, in which both characters that end or change it are doubled, whatever the server's settings.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Refuses a name that is none of a view's, or would clash with a table of ours.
pub(super) fn check(read_model: &ReadModel) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::ReadModel { read_model: read_model.name.clone(), reason });
    let name = &read_model.name;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > IDENTIFIER_BYTES_MAX || !name.bytes().all(is_plain) {
        return refuse(format!("a name is 1 to {IDENTIFIER_BYTES_MAX} lower case letters, digits and _"));
    }
    let is_ours = ["meta", "generations", "checkpoints", "lineages"].contains(&name.as_str());
    if is_ours || name.starts_with("rows_") || name.starts_with("diptych_") || name.contains("__g") {
        return refuse("that is a name of the database's own".to_owned());
    }
    let columns = read_model.fields.iter().map(|field| field.name.as_str());
    if columns.clone().any(|name| name.is_empty() || name.contains('\0')) {
        return refuse("a field has no name, or one with U+0000".to_owned());
    }
    Ok(())
}
