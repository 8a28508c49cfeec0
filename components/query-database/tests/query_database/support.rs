//! A read model, rows and commits in few words.

use std::{path::Path, sync::Arc, time::Duration};

use model::{
    Epoch, EpochId, Field, FieldKind, Hash, Index, IndexKind, IndexValue, Lineage, Position, ReadModel, RowChange,
    RowKey, RowWrite, Tenant,
};
use query_database::{Commit, Generation, HeadSeen, Owned, SqliteConfig, SqliteQueryDatabase};
use runtime::Runtime;

pub(crate) fn open(path: &Path) -> SqliteQueryDatabase {
    SqliteQueryDatabase::open(path, &Runtime::tokio(), &SqliteConfig::default()).expect("the database opens")
}

pub(crate) fn sales() -> Arc<ReadModel> {
    let field = |name: &str, kind| Field { name: name.to_owned(), kind };
    Arc::new(ReadModel {
        name: "sales".to_owned(),
        version: 1,
        shape: Hash::default(),
        fields: vec![field("name", FieldKind::Text), field("sold", FieldKind::Integer)],
        indexes: vec![
            Index { field: "name".to_owned(), kind: IndexKind::Text },
            Index { field: "sold".to_owned(), kind: IndexKind::Integer },
        ],
        schema: serde_json::json!({}),
    })
}

pub(crate) fn position(number: u64) -> Position {
    Position::new(number).expect("positions count from 1")
}

pub(crate) fn key(key: &str) -> RowKey {
    RowKey { tenant: Tenant::default(), key: key.into() }
}

pub(crate) fn put(at: &str, name: &str, sold: Option<i64>, written: u64) -> RowWrite {
    let body = serde_json::json!({ "name": name, "sold": sold }).to_string();
    let sold = sold.map_or(IndexValue::Null, IndexValue::Integer);
    let index = vec![IndexValue::Text(name.to_owned()), sold];
    RowWrite { key: key(at), position: position(written), change: RowChange::Put { body, index } }
}

pub(crate) fn commit(owned: &Owned, from: u64, to: u64, rows: Vec<RowWrite>) -> Commit {
    Commit {
        generation: owned.generation,
        owner: owned.owner,
        from: Position::new(from),
        to: position(to),
        hash: Hash::of(&to.to_le_bytes()),
        rows,
        lineage: Arc::new(Lineage(vec![Epoch { id: EpochId(uuid::Uuid::from_u128(1)), first: Position::FIRST }])),
        head: HeadSeen { position: Position::new(to), age: Duration::ZERO },
    }
}

/// Another letter in a stored body, as a bad disk would have it.
pub(crate) fn flip_a_byte(path: &Path, read_model: &str, generation: Generation, key: &RowKey) {
    let file = rusqlite::Connection::open(path).expect("opened");
    let sql = format!(
        "UPDATE {read_model}__g{generation} SET body = substr(body, 1, 2) || 'x' || substr(body, 4) \
         WHERE tenant = ?1 AND key = ?2"
    );
    assert_eq!(file.execute(&sql, (key.tenant.as_str(), &*key.key)).expect("changed"), 1);
}

/// Copies the file as it would be found if the process were killed now.
pub(crate) fn killed(path: &Path, copy: &Path) {
    let wal = |path: &Path| path.with_file_name(format!("{}-wal", path.file_name().expect("a name").to_string_lossy()));
    std::fs::copy(path, copy).expect("the file");
    std::fs::copy(wal(path), wal(copy)).expect("its write-ahead log");
}
