//! Log and rows on PostgreSQL.
#![allow(clippy::disallowed_methods, reason = "the driver needs a task for its connection, and what verifies a thread")]

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cluster::{Postgres, PostgresServer};
use command_database::{PostgresEventStore, PostgresLogScan};
use query_database::PostgresQueryDatabase;
use runtime::Runtime;
use tokio::runtime::Handle;
use tokio_postgres::NoTls;
use verify::{Report, Rows, Violation};

use crate::{
    domain::registry,
    system::{Running, deposits, fill},
};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(|| Postgres::new().start().expect("a server"));
static DATABASES: AtomicU64 = AtomicU64::new(0);

struct System {
    log: String,
    rows: String,
}

async fn by_hand(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client.batch_execute(statements).await.expect("the statements run");
}

async fn database(name: &str) -> String {
    let name = format!("{name}_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    by_hand(&SERVER.url("postgres"), &format!("CREATE DATABASE {name}")).await;
    SERVER.url(&name)
}

impl System {
    async fn start() -> (Self, Running) {
        let (log, rows) = (database("log").await, database("rows").await);
        let runtime = Runtime::tokio();
        let config = command_database::PostgresConfig::new(log.as_str());
        PostgresEventStore::migrate(&config).await.expect("a log is made");
        let store = PostgresEventStore::open(config, &runtime).await.expect("the log opens");
        let config = query_database::PostgresConfig::default();
        PostgresQueryDatabase::migrate(&rows, &config).await.expect("tables are made");
        let database = PostgresQueryDatabase::open(&rows, &[], &runtime, &config).await.expect("the rows open");
        let running = Running::over(Arc::new(store), Arc::new(database)).await;
        (Self { log, rows }, running)
    }

    async fn filled() -> (Self, Running) {
        let (system, mut running) = Self::start().await;
        fill(&mut running).await;
        (system, running)
    }

    async fn verify(&self) -> Result<Report, verify::Error> {
        let (log, rows, threads) = (self.log.clone(), self.rows.clone(), Handle::current());
        let verified = move || {
            let config = command_database::PostgresConfig::new(log);
            let mut scan = PostgresLogScan::open(&config, &threads).expect("the log can be read");
            let config = query_database::PostgresConfig::default();
            let rows = Rows::on_server("rows".to_owned(), &rows, &config, &threads).expect("the rows can be read");
            verify::run_on(&mut scan, rows, &registry())
        };
        tokio::task::spawn_blocking(verified).await.expect("no panic")
    }

    async fn kinds(&self) -> Vec<&'static str> {
        let report = self.verify().await.expect("verified");
        report.violations.iter().map(Violation::kind).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_boxes_wrote_holds() {
    let (system, _running) = System::filled().await;
    let report = system.verify().await.expect("verified");
    assert!(report.holds(), "{report}");
    assert_eq!((report.log.head, report.log.events, report.log.commands, report.log.streams), (10, 10, 8, 3));
    assert_eq!((report.log.idempotency_records, report.log.snapshots_compared), (8, 1));
    assert_eq!((report.generations[0].rows, report.generations[0].compared_with_fold), (3, true));
    assert!(report.log.name.ends_with(&system.log[system.log.len() - 5..]), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_by_a_superuser_is_found_and_named() {
    for (in_log, statement, expected) in [
        (true, "UPDATE diptych.event_rows SET payload = '{\"amount\":6}' WHERE position = 4", "hash_chain"),
        (true, "UPDATE diptych.event_rows SET payload = '{\"amount\":6}' WHERE position = 4", "event_checksum"),
        (true, "UPDATE diptych.event_rows SET principal = 'mallory' WHERE position = 4", "event_checksum"),
        (true, "UPDATE diptych.event_rows SET hash = sha256('') WHERE position = 4", "hash_chain"),
        (true, "UPDATE diptych.event_rows SET command_index = 2 WHERE position = 8", "command_incomplete"),
        (true, "UPDATE diptych.event_rows SET stream = 77 WHERE position = 4", "event_unreadable"),
        (true, "UPDATE diptych.event_rows SET trace = '\\x00' WHERE position = 4", "event_unreadable"),
        (true, "DELETE FROM diptych.event_rows WHERE position = 5", "positions_missing"),
        (true, "DELETE FROM diptych.event_rows WHERE position = 10", "head"),
        (true, "UPDATE diptych.log_head SET hash = sha256('')", "head"),
        (true, "UPDATE diptych.stream_names SET stream = 77 WHERE id = 'a'", "event_unreadable"),
        (true, "UPDATE diptych.lineage SET epoch = gen_random_uuid()", "hash_chain"),
        (true, "UPDATE diptych.idempotency SET events = 2", "idempotency_record"),
        (true, "DELETE FROM diptych.event_rows WHERE position = 1", "idempotency_record"),
        (true, "UPDATE diptych.snapshots SET state = '{\"balance\":17}'", "snapshot"),
        (false, "UPDATE diptych_rows.rows_1 SET body = replace(body, '16', '17')", "row_body"),
        (false, "UPDATE diptych_rows.rows_1 SET position = position - 1", "row_checksum"),
        (false, "DELETE FROM diptych_rows.rows_1 WHERE key = 'a'", "row_missing"),
        (false, "UPDATE diptych_rows.rows_1 SET key = 'z' WHERE key = 'a'", "row_extra"),
        (false, "UPDATE diptych_rows.checkpoints SET position = position - 1", "checkpoint_hash"),
    ] {
        let (system, _running) = System::filled().await;
        let url = if in_log { &system.log } else { &system.rows };
        let change = format!("BEGIN; SET LOCAL session_replication_role = replica; {statement}; COMMIT");
        by_hand(url, &change).await;
        let kinds = system.kinds().await;
        assert!(kinds.contains(&expected), "{statement}: {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_system_holds_whatever_is_written_meanwhile() {
    let (system, mut running) = System::filled().await;
    // More rows than are read together, so that their slices have different checkpoints.
    let ids: Vec<String> = (0..12_000).map(|id| format!("m{id:05}")).collect();
    for ids in ids.chunks(4_000) {
        running.append_many(ids, &[("account.opened", r#"{"owner":"Ada"}"#.to_owned())]).await;
    }
    while running.fold().await {}
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let writing = tokio::spawn(async move {
        let mut written = 0;
        while !over.load(Ordering::SeqCst) {
            let ids: Vec<String> =
                (0..40).map(|step| format!("m{:05}", (written * 7919 + step * 311) % 12_000)).collect();
            running.append_many(&ids, &deposits(&[1, 2])).await;
            running.fold().await;
            written += 1;
        }
        written
    });
    for _ in 0..3 {
        let report = system.verify().await.expect("verified");
        assert!(report.holds() && report.generations[0].compared_with_fold, "{report}");
    }
    is_over.store(true, Ordering::SeqCst);
    assert!(writing.await.expect("no panic") > 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_writes_nothing_and_begins_no_epoch() {
    let (system, _running) = System::filled().await;
    // What would begin one for whoever may append.
    by_hand(&system.log, "UPDATE diptych.log_head SET written_by = 'another server'").await;
    let report = system.verify().await.expect("verified");
    assert!(report.holds() && report.log.epochs == 1, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_dropped_are_made_anew() {
    let (system, running) = System::filled().await;
    drop(running);
    by_hand(&system.rows, "UPDATE diptych_rows.rows_1 SET body = '{}'; DROP SCHEMA diptych_rows CASCADE").await;
    let (runtime, config) = (Runtime::tokio(), query_database::PostgresConfig::default());
    PostgresQueryDatabase::migrate(&system.rows, &config).await.expect("tables are made");
    let database = PostgresQueryDatabase::open(&system.rows, &[], &runtime, &config).await.expect("the rows open");
    let log = command_database::PostgresConfig::new(system.log.as_str());
    let store = PostgresEventStore::open(log, &runtime).await.expect("the log opens");
    let mut running = Running::over(Arc::new(store), Arc::new(database)).await;
    while running.fold().await {}
    let report = system.verify().await.expect("verified");
    assert!(report.holds() && report.generations[0].compared_with_fold, "{report}");
}
