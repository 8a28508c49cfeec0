//! A read model with an index of every kind, and its rows and commits in few words.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use model::{
    Epoch, EpochId, Field, FieldKind, Hash, Index, IndexKind, IndexValue, Lineage, Position, ReadModel, RowChange,
    RowKey, RowWrite, Tenant,
};
use query_database::{
    Commit, CommitOutcome, Direction, Forked, Generation, HeadSeen, List, ListRead, Owned, PageStart,
};

use super::Database;

pub(super) const NAME: &str = "things";

pub(super) const KINDS: [(&str, IndexKind); 5] = [
    ("text", IndexKind::Text),
    ("integer", IndexKind::Integer),
    ("money", IndexKind::Money { scale: 3 }),
    ("time", IndexKind::Time),
    ("truth", IndexKind::Boolean),
];
pub(super) const TEXT: usize = 0;
pub(super) const INTEGER: usize = 1;
pub(super) const MONEY: usize = 2;
pub(super) const TIME: usize = 3;
pub(super) const TRUTH: usize = 4;

pub(super) fn things(version: u32) -> Arc<ReadModel> {
    Arc::new(ReadModel {
        name: NAME.to_owned(),
        version,
        shape: Hash::of(b"things"),
        fields: KINDS.map(|(name, _)| Field { name: name.to_owned(), kind: FieldKind::Text }).to_vec(),
        indexes: KINDS.map(|(field, kind)| Index { field: field.to_owned(), kind }).to_vec(),
        schema: serde_json::json!({ "type": "object" }),
    })
}

pub(super) fn position(number: u64) -> Position {
    Position::new(number).expect("positions count from 1")
}

pub(super) fn key(key: &str) -> RowKey {
    RowKey { tenant: Tenant::default(), key: key.into() }
}

/// A row with nothing but a body; its fields are NULL.
pub(super) fn put(at: &str, body: &str, written: u64) -> RowWrite {
    row(at, body, written, &[])
}

/// A row with some fields, given as JSON spells them; the others are NULL.
pub(super) fn row(at: &str, body: &str, written: u64, fields: &[(usize, &str)]) -> RowWrite {
    let mut index = vec![IndexValue::Null; KINDS.len()];
    for (place, text) in fields {
        index[*place] = value(*place, text);
    }
    RowWrite { key: key(at), position: position(written), change: RowChange::Put { body: body.to_owned(), index } }
}

/// What is stored for a field that JSON spells so.
pub(super) fn value(place: usize, text: &str) -> IndexValue {
    KINDS[place].1.parse(text).unwrap_or_else(|| panic!("{text:?} is no {}", KINDS[place].1))
}

pub(super) fn delete(at: &str, written: u64) -> RowWrite {
    RowWrite { key: key(at), position: position(written), change: RowChange::Delete }
}

pub(super) fn lineage(epochs: u128) -> Arc<Lineage> {
    let epoch = |number: u128| (number, u64::try_from(number).expect("few epochs"));
    lineage_of(&(1..=epochs).map(epoch).collect::<Vec<_>>())
}

/// The lineage of these epochs, each with its first position.
pub(super) fn lineage_of(epochs: &[(u128, u64)]) -> Arc<Lineage> {
    let epoch = |(id, first): &(u128, u64)| Epoch { id: epoch(*id), first: position(*first) };
    Arc::new(Lineage(epochs.iter().map(epoch).collect()))
}

pub(super) fn epoch(number: u128) -> EpochId {
    EpochId(uuid::Uuid::from_u128(number))
}

pub(super) fn commit(owned: &Owned, from: u64, to: u64, rows: Vec<RowWrite>) -> Commit {
    Commit {
        generation: owned.generation,
        owner: owned.owner,
        from: Position::new(from),
        to: position(to),
        hash: Hash::of(&to.to_le_bytes()),
        rows,
        lineage: lineage(1),
        head: HeadSeen { position: Position::new(to), age: Duration::ZERO },
    }
}

/// As [`commit`], in a log of these epochs whose end it is.
pub(super) fn commit_in(log: &[(u128, u64)], owned: &Owned, from: u64, to: u64) -> Commit {
    Commit { lineage: lineage_of(log), ..commit(owned, from, to, Vec::new()) }
}

/// The mark for a generation that [`commit`] brought to `at`, of a log of these epochs.
pub(super) fn forked(owned: &Owned, at: u64, log: &[(u128, u64)]) -> Forked {
    let hash = Hash::of(&at.to_le_bytes());
    Forked { generation: owned.generation, position: position(at), hash, lineage: lineage_of(log) }
}

pub(super) async fn switched(database: &dyn Database, owned: &Owned) -> bool {
    database.switch(owned.generation, owned.owner).await.expect("answered")
}

pub(super) async fn serving(database: &dyn Database) -> Generation {
    database.serving(NAME).await.expect("something serves").generation
}

pub(super) async fn stored(database: &dyn Database, commit: Commit) {
    assert_eq!(database.commit(commit).await.expect("the commit is answered"), CommitOutcome::Stored);
}

pub(super) async fn fenced(database: &dyn Database, commit: Commit) {
    assert_eq!(database.commit(commit).await.expect("the commit is answered"), CommitOutcome::Fenced);
}

/// Takes `things` and stores `rows` at its first position.
pub(super) async fn with_rows(database: &dyn Database, rows: Vec<RowWrite>) -> Owned {
    let owned = database.take(things(1)).await.expect("taken");
    stored(database, commit(&owned, 0, 1, rows)).await;
    owned
}

pub(super) async fn body(database: &dyn Database, at: &str) -> Option<Bytes> {
    let read = database.point(NAME, &key(at)).await.expect("the row is read");
    read.row.map(|row| row.body)
}

pub(super) fn list(owned: &Owned, order: &[(usize, Direction)]) -> List {
    List {
        generation: owned.generation,
        tenant: Tenant::default(),
        filters: Vec::new(),
        order: order.to_vec(),
        after: None,
        rows_max: 1_000,
    }
}

pub(super) async fn page(database: &dyn Database, list: List) -> ListRead {
    database.list(NAME, list).await.expect("the page is read").expect("the generation serves")
}

pub(super) fn keys(page: &ListRead) -> Vec<&str> {
    page.rows.iter().map(|row| row.start.key.as_str()).collect()
}

/// The keys of all pages of `rows_max` rows, one after the other.
pub(super) async fn keys_by_pages(database: &dyn Database, list: List, rows_max: usize) -> Vec<String> {
    let mut keys = Vec::new();
    let mut after: Option<PageStart> = None;
    for _ in 0..1_000 {
        let page = page(database, List { after, rows_max, ..list.clone() }).await;
        keys.extend(page.rows.iter().map(|row| row.start.key.clone()));
        match page.rows.last() {
            Some(last) if page.more => after = Some(last.start.clone()),
            _ => return keys,
        }
    }
    panic!("after 1000 pages there are still more");
}
