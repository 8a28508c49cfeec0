//! What is in memory and what is in the file are one to whoever reads.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use model::{IndexValue, RowChange, RowWrite, Tenant};
use query_database::{
    CommitOutcome, Comparison, Direction, Error, Filter, List, Owned, PageStart, RowReader, RowWriter, SqliteConfig,
    SqliteQueryDatabase,
};
use runtime::Runtime;

use crate::support::{commit, key, killed, position, put, sales};

fn open_with(path: &Path, config: &SqliteConfig) -> SqliteQueryDatabase {
    SqliteQueryDatabase::open(path, &Runtime::tokio(), config).expect("the database opens")
}

/// Nothing gets into the file but by [`SqliteQueryDatabase::flush`].
fn unhurried() -> SqliteConfig {
    SqliteConfig { flush_after: Duration::from_secs(3600), ..SqliteConfig::default() }
}

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }

    fn name(&mut self) -> String {
        ["", "a", "B", "b", "ä", "Z", "a b"][self.below(7) as usize].to_owned()
    }

    fn sold(&mut self) -> Option<i64> {
        (self.below(4) > 0).then(|| self.below(5).cast_signed() - 2)
    }

    fn row(&mut self, at: u64) -> RowWrite {
        let row = put(&format!("k{}", self.below(30)), &self.name(), self.sold(), at);
        if self.below(5) == 0 { RowWrite { change: RowChange::Delete, ..row } } else { row }
    }

    fn value(&mut self, index: usize) -> IndexValue {
        match (self.below(6), index) {
            (0, _) => IndexValue::Null,
            (_, 0) => IndexValue::Text(self.name()),
            _ => IndexValue::Integer(self.below(5).cast_signed() - 2),
        }
    }

    fn filter(&mut self) -> Filter {
        let index = self.below(2) as usize;
        let comparison = match self.below(8) {
            0 => Comparison::Eq(self.value(index)),
            1 => Comparison::Neq(self.value(index)),
            2 => Comparison::Gt(self.value(index)),
            3 => Comparison::Gte(self.value(index)),
            4 => Comparison::Lt(self.value(index)),
            5 => Comparison::Lte(self.value(index)),
            6 => Comparison::In(vec![self.value(index), self.value(index)]),
            _ => Comparison::IsNull,
        };
        Filter { index, comparison }
    }

    fn list(&mut self, owned: &Owned) -> List {
        let direction = |numbers: &mut Self| if numbers.below(2) == 0 { Direction::Asc } else { Direction::Desc };
        let mut order: Vec<_> = [0, 1].map(|index| (index, direction(self))).to_vec();
        order.rotate_left(self.below(2) as usize);
        order.truncate(self.below(3) as usize);
        List {
            generation: owned.generation,
            tenant: Tenant::default(),
            filters: (0..self.below(3)).map(|_| self.filter()).collect(),
            order,
            after: None,
            rows_max: 1 + self.below(7) as usize,
        }
    }
}

/// Bodies of all pages, and the start of each next one.
async fn pages(database: &SqliteQueryDatabase, list: &List) -> Vec<(String, PageStart)> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = List { after: after.take(), ..list.clone() };
        let page = database.list("sales", page).await.expect("a page").expect("it serves");
        let body = |body: &[u8]| String::from_utf8(body.to_vec()).expect("text");
        rows.extend(page.rows.iter().map(|row| (body(&row.body), row.start.clone())));
        match page.rows.last() {
            Some(last) if page.more => after = Some(last.start.clone()),
            _ => return rows,
        }
    }
}

#[tokio::test]
async fn lists_are_the_same_whatever_is_in_memory_and_whatever_in_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    for seed in 0..6 {
        let mut numbers = Numbers(seed);
        let in_file = open_with(&directory.path().join(format!("file{seed}")), &unhurried());
        let mixed = open_with(&directory.path().join(format!("mixed{seed}")), &unhurried());
        let owned = in_file.take(sales()).await.expect("taken");
        assert_eq!(mixed.take(sales()).await.expect("taken"), owned);
        for step in 0..60 {
            let rows: BTreeMap<_, _> =
                (0..=numbers.below(6)).map(|_| numbers.row(step + 1)).map(|row| (row.key.clone(), row)).collect();
            let rows: Vec<_> = rows.into_values().collect();
            for database in [&in_file, &mixed] {
                let stored = database.commit(commit(&owned, step, step + 1, rows.clone())).await.expect("answered");
                assert_eq!(stored, CommitOutcome::Stored);
            }
            in_file.flush().await.expect("flushed");
            if numbers.below(4) == 0 {
                mixed.flush().await.expect("flushed");
            }
            for _ in 0..8 {
                let list = numbers.list(&owned);
                assert_eq!(
                    pages(&mixed, &list).await,
                    pages(&in_file, &list).await,
                    "seed {seed}, step {step}: {list:?}"
                );
            }
            let keys: Vec<_> = (0..30).map(|number| key(&format!("k{number}"))).collect();
            let folded = mixed.rows(owned.generation, keys.clone()).await.expect("read");
            assert_eq!(folded, in_file.rows(owned.generation, keys.clone()).await.expect("read"));
            for (key, folded) in keys.iter().zip(folded) {
                let read = mixed.point("sales", key).await.expect("read");
                assert_eq!(
                    (read.row.map(|row| row.body), read.checkpoint.position),
                    (folded, Some(position(step + 1)))
                );
            }
        }
    }
}

#[tokio::test]
async fn a_kill_loses_rows_and_checkpoint_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows");
    let mut numbers = Numbers(7);
    let database = open_with(&path, &unhurried());
    let owned = database.take(sales()).await.expect("taken");
    let mut states = vec![BTreeMap::new()];
    for step in 0..40 {
        let row = numbers.row(step + 1);
        let mut state: BTreeMap<_, _> = states.last().expect("a state").clone();
        match &row.change {
            RowChange::Put { body, .. } => drop(state.insert(row.key.clone(), body.clone())),
            RowChange::Delete => drop(state.remove(&row.key)),
        }
        states.push(state);
        database.commit(commit(&owned, step, step + 1, vec![row])).await.expect("stored");
        if step % 7 == 3 {
            database.flush().await.expect("flushed");
        }
        let copy = directory.path().join(format!("copy{step}"));
        killed(&path, &copy);
        let found = open_with(&copy, &unhurried());
        let at = found.checkpoint("sales").await.expect("read").position.map_or(0, |position| position.get());
        assert!(at <= step + 1 && at + 7 > step, "at {at} after {step}");
        let keys: Vec<_> = (0..30).map(|number| key(&format!("k{number}"))).collect();
        let rows = found.rows(owned.generation, keys.clone()).await.expect("read");
        for (key, row) in keys.iter().zip(rows) {
            let expected = states[at as usize].get(key).map(String::as_bytes);
            assert_eq!(row.as_deref(), expected, "{key:?} at {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_a_checkpoint_without_its_rows_or_goes_back_while_flushes_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Arc::new(open_with(&directory.path().join("rows"), &unhurried()));
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "x", Some(1), 1)])).await.expect("stored");
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = Runtime::tokio();
    let mut readers = Vec::new();
    for reader in 0..3 {
        let (database, stop, generation) = (database.clone(), stop.clone(), owned.generation);
        readers.push(runtime.spawn("reader", async move {
            let (mut reached, mut reads) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let (body, at) = if reader == 0 {
                    let list = List {
                        generation,
                        tenant: Tenant::default(),
                        filters: Vec::new(),
                        order: vec![(1, Direction::Desc)],
                        after: None,
                        rows_max: 1,
                    };
                    let page = database.list("sales", list).await.expect("a page").expect("it serves");
                    (page.rows[0].body.clone(), page.checkpoint.position)
                } else {
                    let read = database.point("sales", &key("a")).await.expect("read");
                    (read.row.expect("the row").body, read.checkpoint.position)
                };
                let at = at.expect("a position").get();
                let row: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(row["sold"], at, "reader {reader}");
                assert!(at >= reached, "from {reached} back to {at}");
                (reached, reads) = (at, reads + 1);
                runtime::give_way().await;
            }
            reads
        }));
    }
    for step in 1..3000 {
        // Besides the row that every commit touches, one that goes into the file and stays there.
        let rows =
            vec![put("a", "x", Some(step + 1), step.cast_unsigned() + 1), put(&format!("b{step}"), "x", None, 1)];
        let (from, to) = (step.cast_unsigned(), step.cast_unsigned() + 1);
        assert_eq!(database.commit(commit(&owned, from, to, rows)).await.expect("answered"), CommitOutcome::Stored);
        if step % 17 == 0 {
            database.flush().await.expect("flushed");
        }
        runtime::give_way().await;
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.expect("a reader that found nothing wrong") > 10);
    }
}

#[tokio::test]
async fn what_memory_has_no_room_for_waits_for_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows");
    let config = SqliteConfig { memtable_bytes_max: 20_000, ..unhurried() };
    let database = open_with(&path, &config);
    let owned = database.take(sales()).await.expect("taken");
    for step in 0..50 {
        let rows = (0..20).map(|row| put(&format!("{step}-{row}"), &"x".repeat(200), Some(row), step + 1)).collect();
        database.commit(commit(&owned, step, step + 1, rows)).await.expect("stored");
    }
    let copy = directory.path().join("copy");
    killed(&path, &copy);
    let at = open_with(&copy, &config).checkpoint("sales").await.expect("read").position;
    assert!(at > Some(position(40)), "what is in memory alone is little: {at:?}");
    assert_eq!(database.checkpoint("sales").await.expect("read").position, Some(position(50)));
}

#[tokio::test]
async fn on_a_full_disk_reads_go_on_and_commits_are_refused_once_memory_is_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = SqliteConfig { memtable_bytes_max: 500_000, file_bytes_max: Some(400_000), ..unhurried() };
    let database = open_with(&directory.path().join("rows"), &config);
    let owned = database.take(sales()).await.expect("taken");
    let rows = |at: u64| (0..20).map(|row| put(&format!("{at}-{row}"), &"x".repeat(4_000), None, at)).collect();
    let mut refused = None;
    for step in 0..40 {
        match database.commit(commit(&owned, step, step + 1, rows(step + 1))).await {
            Ok(CommitOutcome::Stored) => {}
            other => {
                refused = Some((step, other));
                break;
            }
        }
    }
    let (reached, outcome) = refused.expect("it fills up");
    assert!(matches!(outcome, Err(Error::StorageFull { .. })), "{outcome:?}");
    assert!(matches!(database.flush().await, Err(Error::StorageFull { .. })));
    let read = database.point("sales", &key(&format!("{reached}-3"))).await.expect("reading goes on");
    assert!(read.row.is_some() && read.checkpoint.position == Some(position(reached)));
}

#[tokio::test]
async fn one_read_model_that_cannot_be_stored_does_not_hold_up_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows");
    let database = open_with(&path, &unhurried());
    let stock = Arc::new(model::ReadModel { name: "stock".to_owned(), ..model::ReadModel::clone(&sales()) });
    let (sold, held) = (database.take(sales()).await.expect("taken"), database.take(stock).await.expect("taken"));
    for (from, to) in [(0, 1), (1, 2)] {
        for owned in [&sold, &held] {
            database.commit(commit(owned, from, to, vec![put("a", "x", Some(1), to)])).await.expect("stored");
        }
    }
    rusqlite::Connection::open(&path)
        .and_then(|file| file.execute_batch("ALTER TABLE stock__g2 RENAME TO elsewhere"))
        .expect("out of the way");
    assert!(database.flush().await.is_err());
    assert!(database.point("stock", &key("a")).await.expect("read").row.is_some(), "memory has it");
    let file = rusqlite::Connection::open(&path).expect("opened");
    let at = |generation: u64| -> i64 {
        let question = format!("SELECT position FROM diptych_checkpoints WHERE generation = {generation}");
        file.query_row(&question, [], |row| row.get(0)).expect("an answer")
    };
    assert_eq!((at(sold.generation.0), at(held.generation.0)), (2, 1));
}
