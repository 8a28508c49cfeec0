//! Statements are prepared once, lists follow an index, and writes leave alone the indexes of what did not change.

use std::sync::Arc;

use model::{Hash, Index, IndexKind, IndexValue, Position, ReadModel, RowChange, RowKey, RowWrite, Tenant};
use rusqlite::{Connection, StatementStatus};

use super::{
    SqliteConfig,
    checkpoint::Clock,
    file, list,
    reader::Reader,
    row::indexes_are_sound,
    table::{Columns, FIRST_INDEX, Table},
    write,
    writer::Writer,
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
    let clock = Clock { id: 1, opened_at: std::time::Duration::ZERO };
    let mut writer = Writer::open(&path, &SqliteConfig::default(), clock).expect("opened");
    let owned = writer.take(&read_model).expect("taken");
    while writer.make_index(owned.generation).expect("made") {}
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
    assert_eq!(statement.get_status(StatementStatus::Run), 4);
    assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
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

/// A table of its own with `width` integer indexes, and a connection to it.
fn wide(width: usize) -> (Connection, Table) {
    let index = |number| Index { field: format!("f{number}"), kind: IndexKind::Integer };
    let read_model = ReadModel {
        name: "wide".to_owned(),
        version: 1,
        shape: Hash::default(),
        fields: Vec::new(),
        indexes: (0..width).map(index).collect(),
        schema: serde_json::Value::Null,
    };
    let connection = Connection::open_in_memory().expect("opened");
    connection.execute_batch("ANALYZE").expect("there are statistics");
    let table = Table::new(Generation(1), Arc::new(read_model));
    connection.execute_batch(&table.create()).expect("made");
    for index in (0..width).filter_map(|place| table.create_index(place)) {
        connection.execute_batch(&index).expect("made");
    }
    (connection, table)
}

fn put(position: u64, index: &[i64]) -> RowWrite {
    RowWrite {
        key: RowKey { tenant: Tenant::default(), key: "k".into() },
        position: Position::new(position).expect("from 1"),
        change: RowChange::Put {
            body: format!("{{\"at\":{position}}}"),
            index: index.iter().map(|number| IndexValue::Integer(*number)).collect(),
        },
    }
}

/// How often the program of `statement` has an instruction: a delete or insert of an entry, in the table or an index.
fn entries(connection: &Connection, statement: &str, instruction: &str) -> usize {
    let mut explained = connection.prepare(&format!("EXPLAIN {statement}")).expect("prepared");
    let mut rows = explained.raw_query();
    let mut found = 0;
    while let Some(row) = rows.next().expect("a step") {
        found += usize::from(row.get::<_, String>(1).expect("text") == instruction);
    }
    found
}

#[test]
fn an_update_writes_the_row_and_an_index_for_each_column_that_changed() {
    let (connection, table) = wide(6);
    for (places, inserted) in [(vec![], 1), (vec![3], 2), (vec![0, 5], 3), ((0..6).collect(), 7)] {
        let update = table.update(places.iter().fold(Columns::default(), |set, place| set.with(*place)));
        assert_eq!(entries(&connection, &update, "IdxInsert"), inserted, "{update}");
        assert_eq!(entries(&connection, &update, "IdxDelete"), places.len(), "{update}");
    }
}

#[test]
fn whatever_changes_row_indexes_and_checksum_agree() {
    let tenant = Tenant::default();
    for width in [0, 1, 3, 8, 9, 70] {
        let (connection, table) = wide(width);
        let width = u32::try_from(width).expect("few");
        for step in 1..=300_u64 {
            // Which columns change is spread over all sets of them; some rows are written twice at once, some deleted.
            let bits = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let index: Vec<i64> = (0..width).map(|place| (bits.rotate_right(place) & 1).cast_signed()).collect();
            let delete = RowWrite { change: RowChange::Delete, ..put(step, &index) };
            let before = if step % 7 == 0 { delete } else { put(step, &index) };
            write::rows(&connection, &table, &[before, put(step, &index)]).expect("written");
            let mut read = connection.prepare_cached(&table.row).expect("prepared");
            let sound = read.query_row([tenant.as_str(), "k"], |row| {
                let stored: Vec<i64> =
                    (0..index.len()).map(|at| row.get(FIRST_INDEX + at)).collect::<Result<_, _>>()?;
                let served = super::row::body(row, 0, tenant.as_str(), "k")?.map(|(_, position)| position.get());
                Ok((stored, served, indexes_are_sound(row, 1, FIRST_INDEX, index.len())?))
            });
            assert_eq!(sound.expect("the row"), (index, Some(step), true));
        }
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(check, "ok");
    }
}

#[test]
fn an_update_is_prepared_once_for_all_rows_that_change_alike() {
    let (connection, table) = wide(3);
    for step in 1..=10 {
        write::rows(&connection, &table, &[put(step, &[7, step.cast_signed(), 7])]).expect("written");
    }
    let update = connection.prepare_cached(&table.update(Columns::default().with(1))).expect("prepared");
    assert_eq!(update.get_status(StatementStatus::Run), 9);
    assert_eq!(update.get_status(StatementStatus::RePrepare), 0);
}

#[test]
fn an_indexed_value_that_changed_on_disk_is_put_right_by_the_next_write() {
    let (connection, table) = wide(2);
    write::rows(&connection, &table, &[put(1, &[1, 2])]).expect("written");
    connection.execute(&format!("UPDATE {} SET i_f1 = 99", table.name), []).expect("damaged");
    write::rows(&connection, &table, &[put(2, &[1, 2])]).expect("written");
    let sound = connection
        .query_row(&table.row, [Tenant::default().as_str(), "k"], |row| indexes_are_sound(row, 1, FIRST_INDEX, 2));
    assert!(sound.expect("the row"));
}
