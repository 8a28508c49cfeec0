//! Statements are prepared once, and lists follow an index.

use std::sync::Arc;

use model::{Hash, Index, IndexKind, IndexValue, ReadModel, RowKey, Tenant};

use super::{
    SqliteConfig, checkpoint::Clock, file, generations::Take, list, reader::Reader, table::Table, writer::Writer,
};
use crate::{Direction, Generation, List, PageStart};

fn opened() -> (tempfile::TempDir, Reader, Arc<Table>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows.sqlite3");
    file::prepare(&path).expect("made");
    let index = |field: &str, kind| Index { field: field.to_owned(), kind };
    let read_model = Arc::new(ReadModel {
        name: "sales".to_owned(),
        version: 1,
        shape: Hash::default(),
        fields: Vec::new(),
        indexes: vec![index("name", IndexKind::Text), index("sold", IndexKind::Integer)],
        schema: serde_json::Value::Null,
    });
    let mut writer = Writer::open(&path, &SqliteConfig::default(), 1).expect("opened");
    writer.take(&read_model, Take::Newest).expect("taken");
    let clock = Clock { id: 1, opened_at: std::time::Duration::ZERO };
    let mut reader = Reader::open(&path, 1 << 20, clock).expect("opened");
    let table = reader.serving("sales").expect("it serves");
    (directory, reader, table)
}

#[test]
fn a_point_read_is_prepared_once_whatever_its_keys() {
    let (_directory, mut reader, table) = opened();
    for key in ["a", "b", "c", "d"] {
        let key = RowKey { tenant: Tenant::new(key), key: key.into() };
        reader.point("sales", &key, std::time::Duration::ZERO).expect("read");
    }
    let statement = reader.connection.prepare_cached(&table.point).expect("prepared");
    assert_eq!(statement.get_status(rusqlite::StatementStatus::Run), 4);
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}

#[test]
fn every_piece_of_a_page_follows_the_index_of_its_first_field() {
    let (_directory, reader, table) = opened();
    let (one, some) = (IndexValue::Integer(1), IndexValue::Text("some".to_owned()));
    for direction in [Direction::Asc, Direction::Desc] {
        for (order, values) in [
            (vec![(1, direction)], vec![one.clone()]),
            (vec![(0, direction)], vec![some.clone()]),
            (vec![(1, direction), (0, Direction::Desc)], vec![one.clone(), some.clone()]),
        ] {
            for after in [None, Some(PageStart { values, key: "k".to_owned() })] {
                let index = format!("USING INDEX sales__g1__{}", order[0].0);
                let list = List {
                    generation: Generation(1),
                    tenant: Tenant::default(),
                    filters: Vec::new(),
                    order: order.clone(),
                    after,
                    rows_max: 10,
                };
                for statement in list::statements(&table, &list).expect("statements") {
                    let plan = plan(&reader, &statement);
                    assert!(plan.contains(&index) && !plan.contains("B-TREE FOR ORDER BY"), "{statement}\n{plan}");
                }
            }
        }
    }
}

fn plan(reader: &Reader, statement: &str) -> String {
    let mut explained = reader.connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).expect("prepared");
    let mut rows = explained.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next().expect("a step") {
        plan += &row.get::<_, String>(3).expect("text");
        plan += "\n";
    }
    plan
}
