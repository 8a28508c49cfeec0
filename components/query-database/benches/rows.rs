//! Rows a second by batch size, and the point read against the same read without anything around it.
//!
//! `cargo bench -p diptych-query-database -- [write] [point] [list]`. Processor time is counted where Linux tells it, so that
//! what else the machine does matters less; rounds are interleaved all the same, and the ratio of one run counts.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    fs,
    hint::black_box,
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

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

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Processor time of all threads, or real time where that is not known.
fn spent() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = |thread: fs::DirEntry| -> Option<u64> {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    match threads.filter_map(spent).sum() {
        0 => BEGAN.elapsed(),
        nanoseconds => Duration::from_nanos(nanoseconds),
    }
}

fn read_model(name: &str, indexes: bool) -> Arc<ReadModel> {
    let index = |field: &str, kind| Index { field: field.to_owned(), kind };
    let both = [index("status", IndexKind::Text), index("total", IndexKind::Money { scale: 2 })];
    Arc::new(ReadModel {
        name: name.to_owned(),
        version: 1,
        shape: Hash::default(),
        fields: vec![Field { name: "status".to_owned(), kind: FieldKind::Text }],
        indexes: if indexes { both.to_vec() } else { Vec::new() },
        schema: serde_json::Value::Null,
    })
}

/// Spread over the key space, as random ids are.
fn key(number: u64) -> RowKey {
    RowKey { tenant: Tenant::default(), key: format!("o-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into() }
}

/// About 250 bytes.
fn row(number: u64, written: u64, indexes: bool) -> RowWrite {
    let lines =
        r#"[{"stock_code":"tea-100","quantity":2,"price":"4.500"},{"stock_code":"cup-7","quantity":1,"price":"3.25"}]"#;
    let body = format!(
        r#"{{"customer":"c-{number}","status":"placed","total":"{written}.50","lines":{lines},"note":"{number:064}"}}"#
    );
    let index = vec![IndexValue::Text("placed".to_owned()), IndexValue::Integer((written % 1_000).cast_signed())];
    RowWrite {
        key: key(number),
        position: Position::new(written).expect("from 1"),
        change: RowChange::Put { body, index: if indexes { index } else { Vec::new() } },
    }
}

struct Subject {
    database: SqliteQueryDatabase,
    lineage: Arc<Lineage>,
}

impl Subject {
    async fn commit(&self, owned: &Owned, from: u64, rows: Vec<RowWrite>) -> u64 {
        let to = from + rows.len() as u64;
        let commit = Commit {
            generation: owned.generation,
            owner: owned.owner,
            from: Position::new(from),
            to: Position::new(to).expect("from 1"),
            hash: Hash::default(),
            rows,
            lineage: self.lineage.clone(),
            head: HeadSeen { position: Position::new(to), age: Duration::ZERO },
        };
        let outcome = self.database.commit(commit).await.expect("answered");
        assert_eq!(outcome, CommitOutcome::Stored);
        to
    }

    /// Writes a read model of `distinct` rows in commits of several sizes.
    async fn write(&self, name: &str, indexes: bool, distinct: u64) {
        let owned = self.database.take(read_model(name, indexes)).await.expect("taken");
        let mut position = 0;
        for (label, size, commits) in
            [("new", 10_000, distinct / 10_000), ("changed", 10_000, 10), ("changed", 100, 500), ("changed", 1, 5_000)]
        {
            let batches = (0..commits).map(|commit| {
                let number = |each| (commit * size + each) * 7_919 % distinct;
                (0..size).map(|each| row(number(each), commit * size + each + 1, indexes)).collect()
            });
            let batches: Vec<Vec<RowWrite>> = batches.collect();
            let (began, began_here) = (spent(), BEGAN.elapsed());
            for rows in batches {
                position = self.commit(&owned, position, rows).await;
            }
            let (spent, here) = ((spent() - began).as_secs_f64(), (BEGAN.elapsed() - began_here).as_secs_f64());
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let (rows, commits) = ((size * commits) as f64, commits as f64);
            println!(
                "{name}, {label} rows, {size} a commit: {:.0} rows a second of processor time ({:.0} of real time), \
                 {:.1} µs a commit",
                rows / spent,
                rows / here,
                spent * 1e6 / commits
            );
        }
    }
}

const READS: u32 = 100_000;
const READ_KEYS: u32 = 1_024;

fn each_read<T>(mut read: impl FnMut(&RowKey) -> T) -> f64 {
    let keys: Vec<RowKey> = (0..u64::from(READ_KEYS)).map(|each| key(each * 97)).collect();
    let times = (0..3).map(|_| {
        let began = spent();
        for round in 0..READS {
            black_box(read(&keys[(round % READ_KEYS) as usize]));
        }
        (spent() - began).as_secs_f64()
    });
    times.fold(f64::MAX, f64::min) * 1e9 / f64::from(READS)
}

/// The least a point read can be: one held statement, the body copied once.
fn bare(path: &Path, table: &str) -> f64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags).expect("opened");
    connection.execute_batch("PRAGMA cache_size = -8192").expect("set");
    let sql = format!("SELECT body FROM {table} WHERE tenant = ?1 AND key = ?2");
    let mut statement = connection.prepare(&sql).expect("prepared");
    each_read(|key| {
        statement
            .query_row((key.tenant.as_str(), &*key.key), |row| {
                Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_bytes().expect("text")))
            })
            .expect("the row")
    })
}

fn ours(database: &SqliteQueryDatabase, read_model: &str) -> f64 {
    each_read(|key| {
        let read = database.point(read_model, key).now_or_never().expect("it never waits").expect("read");
        read.row.expect("the row")
    })
}

async fn read_points(subject: &Subject, path: &Path) {
    subject.write("orders", true, 100_000).await;
    let table = format!("orders__g{}", subject.database.serving("orders").await.expect("it serves").generation);
    // In a file of its own: beside ours it would profit from the snapshots that ours keeps.
    let copy = path.with_extension("copy");
    let original = rusqlite::Connection::open(path).expect("opened");
    original.execute("VACUUM INTO ?1", [copy.to_str().expect("a path of text")]).expect("copied");
    let copied = rusqlite::Connection::open(&copy).expect("opened");
    copied.pragma_update(None, "journal_mode", "WAL").expect("as ours");
    drop((original, copied));
    for round in 0..5 {
        let (ours, bare) = (ours(&subject.database, "orders"), bare(&copy, &table));
        println!("point read, round {round}: bare {bare:.0} ns, ours {ours:.0} ns, ratio {:.3}", bare / ours);
    }
}

async fn read_lists(subject: &Subject) {
    let serving = subject.database.serving("orders").await.expect("it serves");
    let list = List {
        generation: serving.generation,
        tenant: Tenant::default(),
        filters: Vec::new(),
        order: vec![(1, Direction::Desc)],
        after: None,
        rows_max: 50,
    };
    let began = spent();
    for _ in 0..1_000 {
        black_box(subject.database.list("orders", list.clone()).await.expect("a page"));
    }
    println!("list of 50 by an index: {:.0} µs", (spent() - began).as_secs_f64() * 1e3);
}

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |what: &str| named.is_empty() || named.iter().any(|named| named == what);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(SqliteQueryDatabase::FILE_NAME);
    tokio.block_on(async {
        let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &SqliteConfig::default()).expect("opened");
        let lineage = Arc::new(Lineage(vec![Epoch { id: EpochId(uuid::Uuid::nil()), first: Position::FIRST }]));
        let subject = Subject { database, lineage };
        if wanted("write") {
            subject.write("plain_small", false, 10_000).await;
            subject.write("indexed_small", true, 10_000).await;
            subject.write("plain_large", false, 100_000).await;
        }
        if wanted("point") || wanted("list") {
            read_points(&subject, &path).await;
            read_lists(&subject).await;
        }
    });
}
