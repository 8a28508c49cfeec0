//! Rows a second by batch size, and the point read against the same read without anything around it.
//!
//! `cargo bench -p diptych-query-database`. The machine's noise is in all figures alike, so rounds are interleaved and the
//! ratio of one run counts.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{hint::black_box, path::Path, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use model::{
    Epoch, EpochId, Field, FieldKind, Hash, Index, IndexKind, IndexValue, Lineage, Position, ReadModel, RowChange,
    RowKey, RowWrite, Tenant,
};
use query_database::{
    Commit, CommitOutcome, Direction, HeadSeen, List, Owned, RowReader, RowWriter, SqliteConfig, SqliteQueryDatabase,
};
use runtime::Runtime;

const ROWS: u64 = 100_000;

fn read_model(indexes: bool) -> Arc<ReadModel> {
    let index = |field: &str, kind| Index { field: field.to_owned(), kind };
    let indexes = if indexes {
        vec![index("status", IndexKind::Text), index("total", IndexKind::Money { scale: 2 })]
    } else {
        vec![]
    };
    Arc::new(ReadModel {
        name: format!("orders_{}", indexes.len()),
        version: 1,
        shape: Hash::default(),
        fields: vec![Field { name: "status".to_owned(), kind: FieldKind::Text }],
        indexes,
        schema: serde_json::Value::Null,
    })
}

fn key(number: u64) -> RowKey {
    // Spread over the key space, as random ids are.
    RowKey { tenant: Tenant::default(), key: format!("o-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into() }
}

fn row(number: u64, written: u64, indexes: bool) -> RowWrite {
    let body = format!(
        "{{\"customer\":\"c-{number}\",\"status\":\"placed\",\"total\":\"{written}.50\",\"lines\":[{{\"stock_code\":\"tea-100\",\
         \"quantity\":2,\"price\":\"4.500\"}},{{\"stock_code\":\"cup-7\",\"quantity\":1,\"price\":\"3.250\"}}],\"note\":\"{:064}\"}}",
        number
    );
    let index = vec![IndexValue::Text("placed".to_owned()), IndexValue::Integer(written.cast_signed() * 100 + 50)];
    RowWrite {
        key: key(number),
        position: Position::new(written).expect("from 1"),
        change: RowChange::Put { body, index: if indexes { index } else { Vec::new() } },
    }
}

fn commit(owned: &Owned, from: u64, to: u64, rows: Vec<RowWrite>, lineage: &Arc<Lineage>) -> Commit {
    Commit {
        generation: owned.generation,
        owner: owned.owner,
        from: Position::new(from),
        to: Position::new(to).expect("from 1"),
        hash: Hash::default(),
        rows,
        lineage: lineage.clone(),
        head: HeadSeen { position: Position::new(to), age: std::time::Duration::ZERO },
    }
}

async fn write(database: &SqliteQueryDatabase, indexes: bool, lineage: &Arc<Lineage>) {
    let owned = database.take(read_model(indexes)).await.expect("taken");
    let mut position = Position::count(owned.position);
    for (batch, commits) in
        [(10_000, 10), (10_000, 10), (1_000, 50), (100, 300), (1, 3_000), (10_000, 10), (100, 300), (1, 3_000)]
    {
        let batches: Vec<Vec<RowWrite>> = (0..commits)
            .map(|commit| {
                (0..batch)
                    .map(|each| {
                        row((commit * batch + each) * 7919 % ROWS, position + 1 + commit * batch + each, indexes)
                    })
                    .collect()
            })
            .collect();
        let began = Instant::now();
        for rows in batches {
            let to = position + batch;
            let outcome = database.commit(commit(&owned, position, to, rows, lineage)).await.expect("stored");
            assert_eq!(outcome, CommitOutcome::Stored);
            position = to;
        }
        let spent = began.elapsed();
        println!(
            "write, {} indexes, {batch} rows a commit: {:.0} rows/s, {:.1} µs a commit",
            if indexes { 2 } else { 0 },
            (batch * commits) as f64 / spent.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / commits as f64
        );
    }
}

/// The least a point read can be: one held statement, the body copied once.
fn bare(path: &Path, table: &str, rounds: u64) -> f64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags).expect("opened");
    connection.execute_batch("PRAGMA cache_size = -8192").expect("set");
    let mut statement =
        connection.prepare(&format!("SELECT body FROM {table} WHERE tenant = ?1 AND key = ?2")).expect("prepared");
    let keys: Vec<RowKey> = (0..1024).map(|each| key(each * 97 % ROWS)).collect();
    let mut spent = f64::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        for round in 0..rounds {
            let key = &keys[(round % 1024) as usize];
            let body = statement
                .query_row((key.tenant.as_str(), &*key.key), |row| {
                    Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_bytes().expect("text")))
                })
                .expect("the row");
            black_box(body);
        }
        spent = spent.min(began.elapsed().as_secs_f64());
    }
    spent * 1e9 / rounds as f64
}

fn ours(database: &SqliteQueryDatabase, read_model: &str, rounds: u64) -> f64 {
    let keys: Vec<RowKey> = (0..1024).map(|each| key(each * 97 % ROWS)).collect();
    let mut spent = f64::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        for round in 0..rounds {
            let read = database.point(read_model, &keys[(round % 1024) as usize]).now_or_never();
            let read = read.expect("never waits").expect("read");
            assert!(read.row.is_some());
            black_box(read);
        }
        spent = spent.min(began.elapsed().as_secs_f64());
    }
    spent * 1e9 / rounds as f64
}

fn main() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(SqliteQueryDatabase::FILE_NAME);
    let lineage = Arc::new(Lineage(vec![Epoch { id: EpochId(uuid::Uuid::nil()), first: Position::FIRST }]));
    tokio.block_on(async {
        let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &SqliteConfig::default()).expect("opened");
        write(&database, false, &lineage).await;
        write(&database, true, &lineage).await;
        for round in 0..5 {
            let ours = ours(&database, "orders_2", 200_000);
            let bare = bare(&path, "orders_2__g2", 200_000);
            println!("point read, round {round}: bare {bare:.0} ns, ours {ours:.0} ns, ratio {:.3}", bare / ours);
        }
        let serving = database.serving("orders_2").await.expect("serving");
        let list = List {
            generation: serving.generation,
            tenant: Tenant::default(),
            filters: Vec::new(),
            order: vec![(1, Direction::Desc)],
            after: None,
            rows_max: 50,
        };
        let began = Instant::now();
        for _ in 0..1_000 {
            black_box(database.list("orders_2", list.clone()).await.expect("a page"));
        }
        println!("list of 50 by an index: {:.0} µs", began.elapsed().as_secs_f64() * 1e3);
    });
}
