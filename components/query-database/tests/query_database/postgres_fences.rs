//! Several processes at one PostgreSQL, and what its tables hold.

use std::{sync::Arc, time::Duration};

use model::{Index, IndexKind, IndexValue, ReadModel, RowChange};
use query_database::{
    CommitOutcome, Comparison, Direction, Error, Filter, List, PostgresConfig, PostgresQueryDatabase, RowReader,
    RowWriter,
};
use runtime::Runtime;

use crate::{
    server::{SERVER, fresh_database, migrated, open_at, open_with, sql},
    support::{commit, key, position, put, sales},
};

#[tokio::test]
async fn of_two_processes_that_own_one_generation_only_the_later_one_commits() {
    let url = migrated().await;
    let (one, other) = (open_at(&url).await, open_at(&url).await);
    let first = one.take(sales()).await.expect("taken");
    let row = |name: &str, at| vec![put("a", name, None, at)];
    assert_eq!(one.commit(commit(&first, 0, 1, row("one", 1))).await.expect("answered"), CommitOutcome::Stored);
    let second = other.take(sales()).await.expect("taken over");
    assert_eq!((second.generation, second.position), (first.generation, Some(position(1))));
    assert_eq!(one.commit(commit(&first, 1, 2, row("late", 2))).await.expect("answered"), CommitOutcome::Fenced);
    assert_eq!(other.commit(commit(&second, 1, 2, row("two", 2))).await.expect("answered"), CommitOutcome::Stored);
    let read = one.point("sales", &key("a")).await.expect("read");
    assert_eq!(read.row.expect("the row").body, r#"{"name":"two","sold":null}"#);
    assert_eq!(read.checkpoint.position, Some(position(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_the_log_is_no_younger_for_having_waited_for_a_lock() {
    let (url, runtime) = (migrated().await, Runtime::tokio());
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    let row = |name: &str, at| vec![put("a", name, None, at)];
    assert_eq!(database.commit(commit(&owned, 0, 1, row("one", 1))).await.expect("answered"), CommitOutcome::Stored);
    let mut locker = sql(&url).await;
    let lock = locker.transaction().await.expect("begun");
    lock.execute("UPDATE diptych_rows.checkpoints SET held = held", &[]).await.expect("locked");
    let waited = Duration::from_secs(2);
    let committed = database.commit(commit(&owned, 1, 2, row("two", 2)));
    let released = async {
        runtime.sleep(waited).await;
        lock.commit().await.expect("released");
    };
    let (committed, ()) = futures_util::future::join(committed, released).await;
    assert_eq!(committed.expect("answered"), CommitOutcome::Stored);
    let head = database.checkpoint("sales").await.expect("read").head;
    assert!((waited..waited + Duration::from_secs(20)).contains(&head.age), "looked at before the wait: {head:?}");
}

#[tokio::test]
async fn two_processes_that_commit_at_once_with_a_stolen_token_store_each_position_once() {
    let url = migrated().await;
    let owned = open_at(&url).await.take(sales()).await.expect("taken");
    let contender = |name: &'static str| {
        let (url, owned) = (url.clone(), owned.clone());
        async move {
            let database = open_at(&url).await;
            let mut stored = 0;
            for from in 0..100 {
                let rows = vec![put(&format!("{name}-{from}"), name, None, from + 1)];
                let outcome = database.commit(commit(&owned, from, from + 1, rows)).await.expect("answered");
                stored += u64::from(outcome == CommitOutcome::Stored);
                // Whoever lost this position waits for the other one, as if it had read it.
                while database.checkpoint("sales").await.expect("read").position < Some(position(from + 1)) {}
            }
            stored
        }
    };
    let (one, other) = futures_util::future::join(contender("one"), contender("other")).await;
    assert_eq!(one + other, 100);
    let sql = sql(&url).await;
    let rows: i64 = sql.query_one("SELECT count(*) FROM diptych_rows.rows_1", &[]).await.expect("counted").get(0);
    assert_eq!(rows, 100, "{one} and {other} commits");
}

#[tokio::test]
async fn several_processes_that_take_at_once_make_one_generation() {
    let url = migrated().await;
    let take = || async { open_at(&url).await.take(sales()).await.expect("taken") };
    let taken = futures_util::future::join_all([take(), take(), take(), take()]).await;
    let mut owners: Vec<u64> = taken.iter().map(|owned| owned.owner.0).collect();
    owners.sort_unstable();
    assert!(owners.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{owners:?}");
    assert!(taken.iter().all(|owned| owned.generation.0 == 1 && owned.serving));
}

#[tokio::test]
async fn a_generation_that_has_its_number_from_another_life_is_not_taken_for_the_former_one() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    assert!(database.point("sales", &key("a")).await.expect("read").row.is_some());
    // As after a failover that lost the generation, to a server on which another one was made meanwhile.
    let sql = sql(&url).await;
    let other = "CREATE TABLE other AS SELECT gen_random_uuid() AS id;
        UPDATE diptych_rows.generations SET id = (SELECT id FROM other),
            definition = (definition::jsonb || '{\"version\":9,\"indexes\":[]}')::text;
        UPDATE diptych_rows.checkpoints SET id = (SELECT id FROM other);";
    sql.batch_execute(other).await.expect("changed");
    let late = database.commit(commit(&owned, 1, 2, vec![put("b", "b", None, 2)])).await.expect("answered");
    assert_eq!(late, CommitOutcome::Fenced, "even with the owner and position of that one");
    assert_eq!(database.point("sales", &key("a")).await.expect("read").checkpoint.position, Some(position(1)));
    let refused = database.list("sales", list(&owned, Vec::new(), vec![(0, Direction::Asc)])).await;
    assert!(matches!(refused, Err(Error::List { .. })), "it has no indexes: {:?}", refused.map(drop));
}

#[tokio::test]
async fn connections_are_as_many_as_allowed_and_whoever_finds_none_is_told_so() {
    let url = migrated().await;
    let config =
        PostgresConfig { readers: 3, connect_duration_max: Duration::from_secs(1), ..PostgresConfig::default() };
    let database = open_with(&url, &config).await;
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    let a = key("a");
    for read in futures_util::future::join_all((0..200).map(|_| database.point("sales", &a))).await {
        assert!(read.expect("read").row.is_some());
    }
    let sql = sql(&url).await;
    let count =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'diptych%'";
    let connections: i64 = sql.query_one(count, &[]).await.expect("counted").get(0);
    assert!((1..=4).contains(&connections), "{connections}");
    sql.batch_execute("BEGIN; LOCK TABLE diptych_rows.rows_1 IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let waiting = (0..3).map(|_| database.point("sales", &a));
    let refused = async {
        Runtime::tokio().sleep(Duration::from_millis(50)).await;
        let refused = database.point("sales", &a).await;
        sql.batch_execute("ROLLBACK").await.expect("let go");
        refused
    };
    let (waited, refused) = futures_util::future::join(futures_util::future::join_all(waiting), refused).await;
    assert!(matches!(&refused, Err(error @ Error::Read { .. }) if error.is_retryable()), "{refused:?}");
    assert!(waited.into_iter().all(|read| read.is_ok()));
}

#[tokio::test]
async fn a_commit_waits_for_no_reader_and_a_stuck_owner_is_given_up() {
    let url = migrated().await;
    let config = PostgresConfig { lock_duration_max: Duration::from_millis(200), ..PostgresConfig::default() };
    let database = open_with(&url, &config).await;
    let owned = database.take(sales()).await.expect("taken");
    let stuck = sql(&url).await;
    stuck.batch_execute("BEGIN; UPDATE diptych_rows.checkpoints SET owner = owner").await.expect("locked");
    let late = database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await;
    assert!(matches!(&late, Err(error @ Error::Write { .. }) if error.is_retryable()), "{late:?}");
    assert_eq!(database.point("sales", &key("a")).await.expect("readers go on").row, None);
    stuck.batch_execute("ROLLBACK").await.expect("let go");
    let stored = database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("answered");
    assert_eq!(stored, CommitOutcome::Stored);
}

#[tokio::test]
async fn fifty_thousand_rows_go_in_by_batches_and_out_again_in_one() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    let name = |row: u64| format!("{row:05}");
    for batch in 0..5 {
        let rows = (batch * 10_000..(batch + 1) * 10_000).map(|row| put(&name(row), "x", Some(7), batch + 1)).collect();
        let stored = database.commit(commit(&owned, batch, batch + 1, rows)).await.expect("stored");
        assert_eq!(stored, CommitOutcome::Stored);
    }
    let sql = sql(&url).await;
    let count = || sql.query_one("SELECT count(*), min(position), max(position) FROM diptych_rows.rows_1", &[]);
    let counted = count().await.expect("counted");
    assert_eq!((counted.get::<_, i64>(0), counted.get::<_, i64>(1), counted.get::<_, i64>(2)), (50_000, 1, 5));
    let keys: Vec<_> = (0..12_000).rev().map(|row| key(&name(row))).collect();
    let rows = database.rows(owned.generation, keys).await.expect("read");
    assert!(rows.len() == 12_000 && rows.iter().all(Option::is_some));
    let delete = |row| model::RowWrite { change: RowChange::Delete, ..put(&name(row), "", None, 6) };
    let all = (0..50_000).map(delete).collect();
    database.commit(commit(&owned, 5, 6, all)).await.expect("stored");
    assert_eq!(count().await.expect("counted").get::<_, i64>(0), 0);
}

fn things() -> Arc<ReadModel> {
    let index = |field: &str, kind| Index { field: field.to_owned(), kind };
    let indexes = vec![index("price", IndexKind::Money { scale: 3 }), index("text", IndexKind::Text)];
    Arc::new(ReadModel { name: "things".to_owned(), indexes, ..(*sales()).clone() })
}

#[tokio::test]
async fn amounts_are_stored_to_the_last_digit_and_sorted_by_it() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(things()).await.expect("taken");
    let amounts = [
        "-9223372036854775.808",
        "-9007199254740.993",
        "-9007199254740.992",
        "-0.001",
        "0",
        "0.001",
        "0.01",
        "4.500",
        "4.501",
        "9007199254740.992",
        "9007199254740.993",
        "9223372036854775.807",
    ];
    let kind = IndexKind::Money { scale: 3 };
    let value = |amount: &str| kind.parse(amount).expect("an amount");
    let row = |(place, amount): (usize, &&str)| {
        let index = vec![value(amount), IndexValue::Null];
        let body = format!("{{\"price\":\"{amount}\"}}");
        let key = key(&format!("k{}", place * 7 % 12));
        model::RowWrite { key, position: position(1), change: RowChange::Put { body, index } }
    };
    let rows = amounts.iter().enumerate().map(row).collect();
    database.commit(commit(&owned, 0, 1, rows)).await.expect("stored");
    let sql = sql(&url).await;
    let stored = sql.query("SELECT i0 FROM diptych_rows.rows_1 ORDER BY i0", &[]).await.expect("read");
    let stored: Vec<_> = stored.iter().map(|row| IndexValue::Integer(row.get(0))).collect();
    assert_eq!(stored, amounts.map(value));
    for (place, amount) in amounts.iter().enumerate() {
        let filters = vec![Filter { index: 0, comparison: Comparison::Gt(value(amount)) }];
        let page = database.list("things", list(&owned, filters, vec![(0, Direction::Desc)])).await;
        let page = page.expect("read").expect("it serves");
        let larger: Vec<_> = page.rows.iter().map(|row| row.start.values[0].clone()).collect();
        assert_eq!(larger, amounts[place + 1..].iter().rev().map(|amount| value(amount)).collect::<Vec<_>>());
    }
}

fn list(owned: &query_database::Owned, filters: Vec<Filter>, order: Vec<(usize, Direction)>) -> List {
    List { generation: owned.generation, tenant: Default::default(), filters, order, after: None, rows_max: 100 }
}

#[tokio::test]
async fn texts_that_an_index_has_no_room_or_no_character_for_are_listed_all_the_same() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(things()).await.expect("taken");
    // Whatever is no text for PostgreSQL, and what it cannot make shorter.
    let long: String =
        (0..40_000_u32).filter_map(|n| char::from_u32(0x4e00 + n.wrapping_mul(2_654_435_761) % 20_000)).collect();
    let texts = ["", "\0", "\0a", "\u{1}", "\u{1}\u{1}", "a", "b", long.as_str()];
    let row = |(place, text): (usize, &&str)| {
        let index = vec![IndexValue::Null, IndexValue::Text((*text).to_owned())];
        model::RowWrite {
            key: key(&format!("k{}", place * 3 % 8)),
            position: position(1),
            change: RowChange::Put { body: "{}".to_owned(), index },
        }
    };
    let rows = texts.iter().enumerate().map(row).collect();
    assert_eq!(database.commit(commit(&owned, 0, 1, rows)).await.expect("stored"), CommitOutcome::Stored);
    for (direction, backwards) in [(Direction::Asc, false), (Direction::Desc, true)] {
        let page = database.list("things", list(&owned, Vec::new(), vec![(1, direction)])).await.expect("read");
        let mut listed: Vec<_> = page.expect("it serves").rows.iter().map(|row| row.start.values[0].clone()).collect();
        if backwards {
            listed.reverse();
        }
        assert_eq!(listed, texts.map(|text| IndexValue::Text(text.to_owned())));
    }
    let among = vec![IndexValue::Text("\0a".to_owned()), IndexValue::Text(long.clone())];
    let filters = vec![Filter { index: 1, comparison: Comparison::In(among) }];
    let page = database.list("things", list(&owned, filters, Vec::new())).await.expect("read").expect("it serves");
    assert_eq!(page.rows.len(), 2);
}

#[tokio::test]
async fn pages_follow_the_index_of_their_first_field_either_way() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    let rows = (0..20_000).map(|row| put(&format!("{row}"), "x", Some(row * 7 % 19_997), 1)).collect();
    database.commit(commit(&owned, 0, 1, rows)).await.expect("stored");
    let sql = sql(&url).await;
    database.filled(owned.generation);
    let counted = "SELECT FROM pg_stat_user_tables WHERE relname = 'rows_1' AND last_analyze IS NOT NULL";
    while sql.query(counted, &[]).await.expect("asked").is_empty() {}
    for direction in [Direction::Asc, Direction::Desc] {
        let mut after = None;
        for _ in 0..5 {
            let list = List { after, rows_max: 20, ..list(&owned, Vec::new(), vec![(1, direction)]) };
            let page = database.list("sales", list).await.expect("read").expect("it serves");
            assert!(page.rows.len() == 20 && page.more);
            after = page.rows.last().map(|row| row.start.clone());
        }
    }
    // What was read is counted when a connection ends.
    drop(database);
    let counted = "SELECT coalesce(idx_tup_read, 0), (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'rows_1') \
                   FROM pg_stat_user_indexes WHERE indexrelname = 'rows_1_i1'";
    let mut read = (0, 0);
    while read.0 < 10 * 20 {
        let row = sql.query_one(counted, &[]).await.expect("counted");
        read = (row.get::<_, i64>(0), row.get::<_, i64>(1));
    }
    // Each of the three indexes scanned the table when it was made.
    assert!(
        read.0 < 10 * 100 && read.1 <= 3,
        "{} entries and {} scans of the table for 10 pages of 20",
        read.0,
        read.1
    );
}

#[tokio::test]
async fn the_view_shows_the_fields_of_the_serving_generation() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let old = database.take(sales()).await.expect("taken");
    database.commit(commit(&old, 0, 1, vec![put("a", "it's", Some(3), 1)])).await.expect("stored");
    let sql = sql(&url).await;
    let shown = || async {
        let row = sql.query_one("SELECT _key, name, sold FROM diptych_rows.sales", &[]).await.expect("a row");
        (row.get::<_, String>(0), row.get::<_, String>(1), row.get::<_, Option<String>>(2))
    };
    assert_eq!(shown().await, ("a".to_owned(), "it's".to_owned(), Some("3".to_owned())));
    let new = database.take(Arc::new(ReadModel { version: 2, ..(*sales()).clone() })).await.expect("made");
    database.commit(commit(&new, 0, 1, vec![put("b", "new", None, 1)])).await.expect("stored");
    assert!(database.switch(new.generation, new.owner).await.expect("answered"));
    assert_eq!(shown().await, ("b".to_owned(), "new".to_owned(), None));
    // Somebody's own view of it does not hold up what answers.
    sql.batch_execute("CREATE VIEW public.theirs AS SELECT name FROM diptych_rows.sales").await.expect("made");
    let again = database.take(sales()).await.expect("taken");
    assert!(database.switch(again.generation, again.owner).await.expect("answered"));
    assert_eq!(database.serving("sales").await.expect("it serves").generation, again.generation);
}

#[tokio::test]
async fn names_that_would_clash_are_refused() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let long = "x".repeat(64);
    for name in
        ["", "meta", "checkpoints", "rows_1", "diptych_x", "a__g1", "a-b", "Sales", "a\"; DROP TABLE x; --", &long]
    {
        let refused = database.take(Arc::new(ReadModel { name: name.to_owned(), ..(*sales()).clone() })).await;
        assert!(matches!(refused, Err(Error::ReadModel { .. })), "{name:?}: {refused:?}");
    }
    let longest = Arc::new(ReadModel { name: "x".repeat(63), ..(*sales()).clone() });
    database.take(longest).await.expect("that is a name");
}

#[tokio::test]
async fn a_commit_wakes_the_readers_of_other_processes() {
    let url = migrated().await;
    let (one, other) = (open_at(&url).await, open_at(&url).await);
    let owned = one.take(sales()).await.expect("taken");
    other.changed().await;
    // By now it has looked at what there is, and nothing changes.
    let runtime = Runtime::tokio();
    let began = runtime.now();
    other.changed().await;
    let unchanged = runtime.now() - began;
    assert!(unchanged > Duration::from_millis(100), "{unchanged:?}");
    let mut heard = Vec::new();
    for from in 0..5 {
        let changed = other.changed();
        one.commit(commit(&owned, from, from + 1, Vec::new())).await.expect("stored");
        let began = runtime.now();
        changed.await;
        heard.push(runtime.now() - began);
    }
    // Whoever hears nothing goes on after a quarter of a second.
    assert!(heard.iter().any(|heard| *heard < Duration::from_millis(100)), "{heard:?}");
}

#[tokio::test]
async fn a_list_that_takes_too_long_is_ended_and_the_next_one_is_not() {
    let url = migrated().await;
    let config = PostgresConfig { list_duration_max: Duration::from_millis(500), ..PostgresConfig::default() };
    let database = open_with(&url, &config).await;
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    let stuck = sql(&url).await;
    stuck.batch_execute("BEGIN; LOCK TABLE diptych_rows.rows_1 IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let ended = database.list("sales", list(&owned, Vec::new(), Vec::new())).await;
    assert!(matches!(ended, Err(Error::TimeLimit { .. })), "{:?}", ended.map(drop));
    stuck.batch_execute("ROLLBACK").await.expect("let go");
    let page = database.list("sales", list(&owned, Vec::new(), Vec::new())).await.expect("read").expect("it serves");
    assert_eq!(page.rows.len(), 1);
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused_and_stays_as_it_is() {
    let url = fresh_database(&SERVER).await;
    let sql = sql(&url).await;
    sql.batch_execute("CREATE TABLE events (position bigint)").await.expect("theirs");
    let config = PostgresConfig::default();
    let refused = PostgresQueryDatabase::migrate(&url, &config).await.expect_err("it is theirs");
    assert!(matches!(&refused, Error::ForeignDatabase { found, .. } if found.contains("public.events")), "{refused}");
    let schemas = sql.query("SELECT FROM pg_namespace WHERE nspname LIKE 'diptych%'", &[]).await.expect("read");
    assert!(schemas.is_empty());
    let opened = PostgresQueryDatabase::open(&url, &[], &Runtime::tokio(), &config).await;
    assert!(matches!(opened, Err(Error::NotMigrated { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_newer_format_is_used_only_if_it_says_so() {
    let url = migrated().await;
    let sql = sql(&url).await;
    let config = PostgresConfig::default();
    for (least, usable) in [(1, true), (2, false)] {
        sql.execute("UPDATE diptych_rows.meta SET format = 2, format_least = $1", &[&least]).await.expect("raised");
        let opened = PostgresQueryDatabase::open(&url, &[], &Runtime::tokio(), &config).await;
        let migrated = PostgresQueryDatabase::migrate(&url, &config).await;
        assert_eq!((opened.is_ok(), migrated.is_ok()), (usable, usable));
        if let Err(refused) = migrated {
            assert!(matches!(refused, Error::DatabaseFormat { found: 2, least: 2, known: 1, .. }), "{refused}");
        }
    }
}

#[tokio::test]
async fn several_processes_migrate_at_once() {
    let url = fresh_database(&SERVER).await;
    let config = PostgresConfig { role_prefix: "at_once_".to_owned(), ..PostgresConfig::default() };
    let migrate = || PostgresQueryDatabase::migrate(&url, &config);
    for migrated in futures_util::future::join_all([migrate(), migrate(), migrate(), migrate()]).await {
        migrated.expect("made ready");
    }
    assert!(open_with(&url, &config).await.generations().await.expect("read").is_empty());
}
