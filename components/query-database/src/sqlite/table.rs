//! A generation's table, and the statements on it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, atomic::AtomicBool},
};

use model::{IndexKind, ReadModel};
use parking_lot::Mutex;

use crate::{Error, Generation};

/// The first index column of [`Table::row_columns`]; before it come body, checksum and position.
pub(super) const FIRST_INDEX: usize = 3;

/// A generation and the statements that its connections prepare for it.
pub(super) struct Table {
    pub(super) generation: Generation,
    pub(super) read_model: Arc<ReadModel>,
    pub(super) name: String,
    /// Checkpoint and row, the row's columns NULL where there is none.
    pub(super) point: String,
    /// One row, as its fold needs it.
    pub(super) row: String,
    /// The index columns of one row; none where the read model has no indexes.
    pub(super) stored: Option<String>,
    /// A row that is not stored yet.
    pub(super) put: String,
    /// A row that may be stored: what is there is taken away before, with its entries in all indexes.
    pub(super) replace: String,
    pub(super) delete: String,
    /// What [`Table::update`] was asked for so far.
    updates: Mutex<BTreeMap<Columns, Arc<str>>>,
    /// Whether all its indexes were seen to be there: [`Table::is_indexed`].
    pub(super) indexed: AtomicBool,
}

/// Some of a table's index columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Columns(u64);

impl Columns {
    pub(super) const ALL: Self = Self(u64::MAX);

    /// Beyond what a set can tell apart it is all of them.
    pub(super) fn with(self, place: usize) -> Self {
        if place < 63 { Self(self.0 | 1 << place) } else { Self::ALL }
    }

    pub(super) fn contain(self, place: usize) -> bool {
        self == Self::ALL || (place < 63 && self.0 >> place & 1 == 1)
    }
}

/// With more index columns than this they are set all or none: each set of them is a statement of its own.
const APART_MAX: usize = 8;

impl Table {
    pub(super) fn new(generation: Generation, read_model: Arc<ReadModel>) -> Self {
        let name = quoted(&format!("{}__g{generation}", read_model.name));
        let columns: Vec<String> = read_model.indexes.iter().map(|index| index_column(&index.field)).collect();
        let with_indexes = |start: &str| columns.iter().fold(start.to_owned(), |list, column| list + ", " + column);
        let all = with_indexes("tenant, key, body, checksum, position");
        let places = (1..=5 + columns.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        let insert = |or: &str| format!("INSERT {or}INTO {name} ({all}) VALUES ({places})");
        let stored = (!columns.is_empty())
            .then(|| format!("SELECT {} FROM {name} WHERE tenant = ?1 AND key = ?2", columns.join(", ")));
        Self {
            point: format!(
                "SELECT {CHECKPOINT_COLUMNS}, r.body, r.checksum, r.position FROM diptych_checkpoints AS c \
                 LEFT JOIN {name} AS r ON r.tenant = ?1 AND r.key = ?2 WHERE c.generation = {generation}"
            ),
            row: format!(
                "SELECT {} FROM {name} WHERE tenant = ?1 AND key = ?2",
                with_indexes("body, checksum, position")
            ),
            stored,
            put: insert(""),
            replace: insert("OR REPLACE "),
            updates: Mutex::default(),
            indexed: AtomicBool::new(false),
            delete: format!("DELETE FROM {name} WHERE tenant = ?1 AND key = ?2"),
            generation,
            read_model,
            name,
        }
    }

    /// `changed`, or more columns where there are too many to set each of them apart.
    pub(super) fn settable(&self, changed: Columns) -> Columns {
        let all = changed != Columns::default() && self.read_model.indexes.len() > APART_MAX;
        if all { Columns::ALL } else { changed }
    }

    /// Rewrites a stored row, but of its index columns only these; the others' indexes are not touched. Parameters are
    /// numbered as in [`Table::put`].
    pub(super) fn update(&self, columns: Columns) -> Arc<str> {
        let build = || {
            let mut update = format!("UPDATE {} SET body = ?3, checksum = ?4, position = ?5", self.name);
            for (place, index) in self.read_model.indexes.iter().enumerate().filter(|(at, _)| columns.contain(*at)) {
                // Writing to a String does not fail.
                let _ = write!(update, ", {} = ?{}", index_column(&index.field), 6 + place);
            }
            (update + " WHERE tenant = ?1 AND key = ?2").into()
        };
        self.updates.lock().entry(columns).or_insert_with(build).clone()
    }

    /// The columns that a row's checksums are over, in the order of [`super::row::Stored`].
    pub(super) fn row_columns(&self) -> String {
        let indexes = self.read_model.indexes.iter().map(|index| index_column(&index.field));
        indexes.fold("body, checksum, position".to_owned(), |list, column| list + ", " + &column)
    }

    /// The column of the index at `place`.
    pub(super) fn index_column(&self, place: usize) -> Option<String> {
        self.read_model.indexes.get(place).map(|index| index_column(&index.field))
    }

    /// Makes the table, without its indexes.
    ///
    /// SQLite plans by what it knows of a table's contents, and takes ten rows a tenant for granted where it knows nothing.
    /// It is told of many instead, and never asked to count: lists then follow an index from the first row on.
    pub(super) fn create(&self) -> String {
        let mut columns = String::new();
        let table = literal(&self.bare_name());
        let mut contents = format!("({table}, {table}, '1000000 1000000 1')");
        for (place, index) in self.read_model.indexes.iter().enumerate() {
            let affinity = if index.kind == IndexKind::Text { "TEXT" } else { "INTEGER" };
            // Writing to a String does not fail.
            let _ = write!(columns, "{} {affinity}, ", index_column(&index.field));
            let _ = write!(contents, ", ({table}, {}, '1000000 1000000 1000 1')", literal(&self.index_name(place)));
        }
        format!(
            "CREATE TABLE {} (tenant TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, checksum INTEGER NOT NULL, \
             position INTEGER NOT NULL, {columns}PRIMARY KEY (tenant, key)) STRICT, WITHOUT ROWID; \
             INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES {contents};",
            self.name
        )
    }

    /// Makes the index at `place`. Every list is one of a tenant's rows, so the tenant leads every index; the key, which
    /// decides last, ends it.
    pub(super) fn create_index(&self, place: usize) -> Option<String> {
        let (name, column) = (quoted(&self.index_name(place)), self.index_column(place)?);
        Some(format!("CREATE INDEX {name} ON {} (tenant, {column}, key)", self.name))
    }

    pub(super) fn index_name(&self, place: usize) -> String {
        format!("{}__{place}", self.bare_name())
    }

    fn bare_name(&self) -> String {
        format!("{}__g{}", self.read_model.name, self.generation)
    }

    /// Lets the view called as the read model show this generation: a column for each field, for whoever asks with SQL.
    pub(super) fn show(&self) -> String {
        let view = quoted(&self.read_model.name);
        let mut columns = String::from("tenant AS _tenant, key AS _key, position AS _position");
        for field in &self.read_model.fields {
            let path = literal(&format!("$.{}", serde_json::Value::from(field.name.as_str())));
            let _ = write!(columns, ", json_extract(body, {path}) AS {}", quoted(&field.name));
        }
        format!("DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS SELECT {columns} FROM {};", self.name)
    }
}

/// What [`super::checkpoint::read`] expects, in this order.
pub(super) const CHECKPOINT_COLUMNS: &str =
    "c.serving, c.position, c.lineage, c.head, c.head_seen_at, c.clock, c.held, c.forked";

/// How many of them there are.
pub(super) const CHECKPOINT_WIDTH: usize = 8;

fn index_column(field: &str) -> String {
    quoted(&format!("i_{field}"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Refuses what would clash with another table, with our own ones or with SQLite's, or be no identifier at all.
pub(super) fn check(read_model: &ReadModel) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::ReadModel { read_model: read_model.name.clone(), reason });
    let name = &read_model.name;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || name.len() > 64 || !plain(name) || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return refuse("a name is 1 to 64 lower case letters, digits and _".to_owned());
    }
    if name.starts_with("diptych_") || name.starts_with("sqlite_") || name.contains("__g") {
        return refuse("names with diptych_ or sqlite_ in front or __g inside are the database's own".to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    for index in &read_model.indexes {
        if index.field.is_empty() || !plain(&index.field) {
            return refuse(format!("the indexed field {:?} is not of letters, digits and _", index.field));
        }
        if !seen.insert(index.field.to_ascii_lowercase()) {
            return refuse(format!("two indexed fields are called {:?}, capitals or not", index.field));
        }
    }
    Ok(())
}
