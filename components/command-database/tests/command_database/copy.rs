//! A log that is copied is the same log, whatever it was in and whatever it comes to be in.
#![allow(clippy::disallowed_methods, reason = "copies block: they get threads of their own")]

use std::{path::PathBuf, sync::Arc};

use command_database::{
    Backup, BackupReader, Contents, Copied, CopyTarget, Error, EventStore, LogSource, Outcome, Pace, PostgresCopy,
    PostgresEventStore, ReadLimit, SqliteConfig, SqliteCopy, SqliteEventStore, SqliteLogScan, Step, StoredDecision,
    copy, verify_copy,
};
use jiff::Timestamp;
use model::{EpochId, Hash, Metadata, Position, Principal, StoredEvent, TraceContext};
use runtime::Runtime;
use testkit::conformance::event_store::Request;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::{
    given::Given,
    postgres::given::{Database, config},
};

const APPLICATION: &str = "shop";

/// Runs what blocks beside the test's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

fn go_on(_: Step) -> Pace {
    Pace::GoOn
}

/// A log with everything that a log can have, in three epochs.
async fn fill(store: &SqliteEventStore, runtime: &Runtime) {
    let command = runtime.uuid();
    let metadata = Metadata {
        principal: Principal::new("some\0one"),
        time: Timestamp::from_microsecond(1_234_567_890_123_456).expect("a time"),
        correlation: Uuid::from_u128(7),
        causation: Uuid::from_u128(8),
        trace: TraceContext { trace_id: command.as_u128() ^ 1, parent_id: 5, sampled: true },
        tracestate: Some("rojo=1".into()),
    };
    let new = |stream: &str| Request::new(runtime, stream);
    let batch = vec![
        new("a").event(r#"{"n":1}"#).event("\"\\u0000\n\u{10FFFF}\"").key("first", "body").build(),
        new("b\0").event(vec![0xff, 0xfe]).metadata(metadata).of_tenant("other").build(),
        new("c").refused(b"{\"code\":\"no\"}").key("refused", "body").build(),
        new("c").key("nothing", "body").build(),
    ];
    store.append(batch).await.expect("appended");
    store.begin_epoch().await.expect("begun");
    for round in 0..40 {
        let batch = (0..300).map(|number| {
            let stream = format!("s-{}", (round * 7 + number) % 400);
            new(&stream).event(format!("{{\"n\":{number}}}")).key(&format!("k-{round}-{number}"), "body").build()
        });
        store.append(batch.collect()).await.expect("appended");
    }
    store.begin_epoch().await.expect("begun");
    store.append(vec![new("a").event("9").build()]).await.expect("appended");
    store.lease_relay(Uuid::from_u128(1), std::time::Duration::from_secs(9)).await.expect("leased").expect("a lease");
    store.store_relay_cursor(1, Position::new(77).expect("from 1")).await.expect("stored");
}

async fn events(store: &dyn EventStore) -> Vec<StoredEvent> {
    let mut all: Vec<StoredEvent> = Vec::new();
    loop {
        let after = all.last().map(|event| event.position);
        let read = store.read(after, ReadLimit::default()).await.expect("a read");
        if read.is_empty() {
            return all;
        }
        all.extend(read.iter().map(|event| StoredEvent::clone(event)));
    }
}

fn key(name: &str) -> Hash {
    Hash::of(name.as_bytes())
}

/// What is copied, and another life.
async fn assert_is_copy(copied: &dyn EventStore, original: &SqliteEventStore, epoch: EpochId, runtime: &Runtime) {
    assert_eq!(events(copied).await, events(original).await);
    let (mut lineage, after) = (original.lineage().await.expect("a lineage"), original.head().await.expect("a head"));
    lineage.0.push(model::Epoch { id: epoch, first: Position::after(after.position) });
    assert_eq!(copied.lineage().await.expect("a lineage"), lineage);
    for name in ["first", "refused", "nothing", "k-3-17"] {
        let record = original.idempotency(key(name)).await.expect("a record");
        assert!(record.is_some(), "{name}");
        assert_eq!(copied.idempotency(key(name)).await.expect("a record"), record, "{name}");
    }
    // What was done is not done again, and what is new follows on it in the new life.
    let again = Request::new(runtime, "a").event("again").key("first", "body").build();
    let new = Request::new(runtime, "a").event("new").build();
    let outcomes = copied.append(vec![again, new]).await.expect("appended");
    let Outcome::Replayed(record) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(matches!(record.decision, StoredDecision::Accepted { first, events: 2, .. } if first == Position::new(1)));
    let Outcome::Committed { first, epoch: in_epoch, .. } = outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!((first, in_epoch), (Some(Position::after(after.position)), epoch));
}

fn to_postgres(path: PathBuf, url: String, stop_after: Option<usize>) -> Result<(Copied, Contents), Error> {
    let threads = Handle::current();
    let mut scan = SqliteLogScan::open(&path).expect("it can be read");
    let mut target = PostgresCopy::open(&config(&url), &threads)?;
    let mut source = LogSource::new(&mut scan)?;
    let contents = command_database::CopySource::contents(&source).clone();
    target.check(&contents)?;
    let mut steps = 0;
    let copied = copy(&mut source, &mut target, &mut |_| {
        steps += 1;
        if Some(steps) == stop_after { Pace::Stop } else { Pace::GoOn }
    })?;
    if copied == Copied::Whole {
        let mut scan = target.scan(&config(&url), &threads)?;
        assert_eq!(verify_copy(&mut scan, &contents, &mut go_on)?, Copied::Whole);
    }
    Ok((copied, contents))
}

fn end(url: &str, epoch: EpochId) {
    let target = PostgresCopy::open(&config(url), &Handle::current()).expect("opened");
    assert!(!target.has_ended(epoch).expect("read"));
    target.end(epoch, 1, "a test").expect("ended");
    assert!(target.has_ended(epoch).expect("read"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_goes_to_postgresql_and_from_there_by_a_backup_into_a_file() {
    let given = Given::on(Runtime::tokio());
    let original = given.open();
    fill(&original, &given.runtime).await;
    let database = Database::empty().await;
    let (path, url) = (given.path(), database.url.clone());
    blocking(move || to_postgres(path, url, None)).await.expect("copied");
    let epoch = EpochId(given.runtime.uuid());
    let url = database.url.clone();
    blocking(move || end(&url, epoch)).await;
    let moved = database.open().await;
    let lease = moved.lease_relay(Uuid::from_u128(2), std::time::Duration::from_secs(1)).await.expect("asked");
    assert_eq!(lease.expect("a lease").cursor, Position::new(77));
    assert_is_copy(&moved, &original, epoch, &given.runtime).await;

    let (backup, log) = (given.path().with_file_name("backup"), given.path().with_file_name("restored.sqlite3"));
    let (url, restored_epoch) = (database.url.clone(), EpochId(given.runtime.uuid()));
    let (file, target) = (backup.clone(), log.clone());
    blocking(move || {
        let mut scan = command_database::PostgresLogScan::open(&config(&url), &Handle::current()).expect("opened");
        let mut writing = Backup::create(&file, APPLICATION).expect("begun");
        let copied = copy(&mut LogSource::new(&mut scan).expect("a source"), &mut writing, &mut go_on);
        assert_eq!(copied.expect("copied"), Copied::Whole);
        writing.end(&mut go_on).expect("a backup");
        let contents = BackupReader::check(&file, APPLICATION, &mut go_on).expect("it is whole").expect("read");
        let mut target_log = SqliteCopy::new(&target);
        copy(&mut BackupReader::open(&file, APPLICATION).expect("opened"), &mut target_log, &mut go_on)
            .expect("copied");
        let mut scan = SqliteLogScan::open(&target).expect("opened");
        verify_copy(&mut scan, &contents, &mut go_on).expect("it is the same");
        target_log.end(restored_epoch, 1).expect("ended");
    })
    .await;
    assert!(!backup.with_file_name("backup.partial").exists());
    let restored = SqliteEventStore::open(&log, &given.runtime, SqliteConfig::default()).expect("it opens");
    assert_eq!(events(&restored).await, events(&moved).await);
    assert_eq!(restored.lineage().await.expect("a lineage").0.len(), 5);
    for name in ["first", "refused", "nothing", "k-3-17"] {
        let record = moved.idempotency(key(name)).await.expect("a record");
        assert_eq!(restored.idempotency(key(name)).await.expect("a record"), record, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_copy_goes_on_wherever_it_was_and_is_nobodys_log_meanwhile() {
    for stop_after in [1, 2, 4, 5] {
        let given = Given::on(Runtime::tokio());
        let original = given.open();
        fill(&original, &given.runtime).await;
        let database = Database::migrated().await;
        let running = database.open().await;
        let (path, url) = (given.path(), database.url.clone());
        let (copied, _) = blocking(move || to_postgres(path, url, Some(stop_after))).await.expect("copied");
        assert_eq!(copied, Copied::Stopped);
        let refused = PostgresEventStore::open(config(&database.url), &given.runtime).await.expect_err("not whole");
        assert!(matches!(refused, Error::Unfinished { .. }), "{refused}");
        let append = Request::new(&given.runtime, "a").event("1").build();
        running.append(vec![append]).await.expect_err("not by one that had opened it before either");

        // The source has gone on since.
        let late = Request::new(&given.runtime, "late").event("1").key("late", "body").build();
        original.append(vec![late]).await.expect("appended");
        let (path, url) = (given.path(), database.url.clone());
        let (copied, _) = blocking(move || to_postgres(path, url, None)).await.expect("copied");
        assert_eq!(copied, Copied::Whole);
        let (epoch, url) = (EpochId(given.runtime.uuid()), database.url.clone());
        blocking(move || end(&url, epoch)).await;
        let moved = database.open().await;
        assert!(moved.idempotency(key("late")).await.expect("a record").is_some());
        assert_is_copy(&moved, &original, epoch, &given.runtime).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_empty_is_refused_and_left_as_it_was() {
    let given = Given::on(Runtime::tokio());
    fill(&given.open(), &given.runtime).await;
    let database = Database::migrated().await;
    let store = database.open().await;
    store.append(vec![Request::new(&given.runtime, "a").event("1").build()]).await.expect("appended");
    let (path, url) = (given.path(), database.url.clone());
    let refused = blocking(move || to_postgres(path, url, None)).await.expect_err("not empty");
    assert!(matches!(refused, Error::NotEmpty { .. }), "{refused}");
    assert_eq!(store.head().await.expect("a head").position, Position::new(1));

    // A part of the copy of another log.
    let (other, database) = (Given::on(Runtime::tokio()), Database::empty().await);
    fill(&other.open(), &other.runtime).await;
    let (path, url) = (other.path(), database.url.clone());
    blocking(move || to_postgres(path, url, Some(4))).await.expect("a part");
    let (path, url) = (given.path(), database.url.clone());
    let refused = blocking(move || to_postgres(path, url, None)).await.expect_err("another log's");
    assert!(refused.to_string().contains("copy of another log"), "{refused}");

    let foreign = Database::empty().await;
    foreign.by_hand().await.batch_execute("CREATE TABLE theses (title text)").await.expect("made");
    let (path, url) = (given.path(), foreign.url.clone());
    let refused = blocking(move || to_postgres(path, url, None)).await.expect_err("somebody else's");
    assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_not_copied() {
    for change in [
        "UPDATE events SET payload = CAST('{}' AS BLOB) WHERE position = 5000",
        "DELETE FROM events WHERE position = 5000",
        "UPDATE events SET hash = zeroblob(32) WHERE position = 5000",
        "UPDATE idempotency SET events = 7",
        "UPDATE lineage SET epoch = zeroblob(16) WHERE ordinal = 2",
    ] {
        let given = Given::on(Runtime::tokio());
        fill(&given.open(), &given.runtime).await;
        given.by_hand(&format!("DROP TRIGGER events_do_not_change; DROP TRIGGER events_stay; {change}"));
        let backup = given.path().with_file_name("backup");
        let (path, file) = (given.path(), backup.clone());
        let refused = blocking(move || {
            let mut scan = SqliteLogScan::open(&path).expect("it can be read");
            let mut source = LogSource::new(&mut scan)?;
            copy(&mut source, &mut Backup::create(&file, APPLICATION)?, &mut go_on)
        });
        let refused = refused.await.expect_err(change);
        assert!(matches!(refused, Error::Corrupt { .. } | Error::Damaged { .. }), "{change}: {refused}");
        assert!(!backup.exists(), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_cut_off_or_changed_anywhere_is_refused() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    let append = |id: &str| Request::new(&given.runtime, id).event(format!("\"{id}\"")).key(id, "body").build();
    store.append((0..50).map(|id| append(&format!("s-{id}"))).collect()).await.expect("appended");
    let backup = given.path().with_file_name("backup");
    let (path, file) = (given.path(), backup.clone());
    blocking(move || {
        let mut scan = SqliteLogScan::open(&path).expect("it can be read");
        let mut writing = Backup::create(&file, APPLICATION).expect("begun");
        copy(&mut LogSource::new(&mut scan).expect("a source"), &mut writing, &mut go_on).expect("copied");
        writing.end(&mut go_on).expect("a backup");
    })
    .await;
    let sound = std::fs::read(&backup).expect("a file");
    let check = |content: &[u8], application: &str| {
        let file = backup.with_file_name("changed");
        std::fs::write(&file, content).expect("written");
        BackupReader::check(&file, application, &mut go_on)
    };
    let contents = check(&sound, APPLICATION).expect("sound").expect("read");
    assert_eq!(contents.head, Position::new(50));
    for length in (0..sound.len()).step_by(37) {
        let refused = check(&sound[..length], APPLICATION).expect_err("cut off");
        assert!(matches!(refused, Error::Backup { .. }), "at {length}: {refused}");
    }
    // The first ten bytes are gzip's own, of which most say nothing; nor do the bits that fill up its last byte before the
    // trailer.
    let mut harmless = 0;
    for at in (10..sound.len()).step_by(23) {
        let mut changed = sound.clone();
        changed[at] ^= 0x10;
        match check(&changed, APPLICATION) {
            Err(refused) => assert!(matches!(refused, Error::Backup { .. }), "at {at}: {refused}"),
            Ok(read) => {
                assert_eq!(format!("{read:?}"), format!("{:?}", Some(&contents)), "at {at}");
                harmless += 1;
            }
        }
    }
    assert!(harmless <= 1, "{harmless} changes went unnoticed");
    let more = [&sound[..], b"more"].concat();
    assert!(check(&more, APPLICATION).expect_err("longer").to_string().contains("follows"));
    let refused = check(&sound, "bank").expect_err("another application's");
    assert!(refused.to_string().contains("\"shop\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_into_postgresql_that_was_interrupted_goes_on_where_it_was() {
    let given = Given::on(Runtime::tokio());
    let original = given.open();
    fill(&original, &given.runtime).await;
    let (path, file) = (given.path(), given.path().with_file_name("backup"));
    let backup = file.clone();
    blocking(move || {
        let mut scan = SqliteLogScan::open(&path).expect("it can be read");
        let mut writing = Backup::create(&file, APPLICATION).expect("begun");
        copy(&mut LogSource::new(&mut scan).expect("a source"), &mut writing, &mut go_on).expect("copied");
        writing.end(&mut go_on).expect("a backup");
    })
    .await;
    let (database, epoch) = (Database::empty().await, EpochId(given.runtime.uuid()));
    let url = database.url.clone();
    blocking(move || {
        for stop_after in [1, 2, 3, usize::MAX] {
            let mut target = PostgresCopy::open(&config(&url), &Handle::current()).expect("opened");
            let mut reader = BackupReader::open(&backup, APPLICATION).expect("opened");
            let mut steps = 0;
            let copied = copy(&mut reader, &mut target, &mut |_| {
                steps += 1;
                if steps == stop_after { Pace::Stop } else { Pace::GoOn }
            });
            let expected = if stop_after == usize::MAX { Copied::Whole } else { Copied::Stopped };
            assert_eq!(copied.expect("copied"), expected);
        }
        end(&url, epoch);
    })
    .await;
    assert_is_copy(&database.open().await, &original, epoch, &given.runtime).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_writer_has_of_each_command_events_and_key_or_neither() {
    let given = Given::on(Runtime::tokio());
    let store = Arc::new(given.open());
    let (writer, runtime) = (store.clone(), given.runtime.clone());
    let writing = tokio::spawn(async move {
        for round in 0..400 {
            let append = |number: u32| {
                let key = format!("k-{round}-{number}");
                Request::new(&runtime, &key).event("1").event("2").key(&key, "body").build()
            };
            writer.append((0..20).map(append).collect()).await.expect("appended");
        }
    });
    let path = given.path();
    let found = blocking(move || {
        let mut found = Vec::new();
        for round in 0..4 {
            let file = path.with_file_name(format!("backup-{round}"));
            let mut scan = SqliteLogScan::open(&path).expect("it can be read");
            let mut writing = Backup::create(&file, APPLICATION).expect("begun");
            copy(&mut LogSource::new(&mut scan).expect("a source"), &mut writing, &mut go_on).expect("copied");
            writing.end(&mut go_on).expect("a backup");
            let mut reader = BackupReader::open(&file, APPLICATION).expect("opened");
            found.push(command_and_keys(&mut reader));
        }
        found
    })
    .await;
    for (events, keys) in found {
        assert_eq!(events, 2 * keys);
    }
    writing.await.expect("no panic");
}

fn command_and_keys(reader: &mut BackupReader) -> (u64, u64) {
    #[derive(Default)]
    struct Count(u64, u64);
    impl CopyTarget for Count {
        fn begin(&mut self, _: &Contents) -> Result<command_database::Progress, Error> {
            Ok(command_database::Progress::default())
        }
        fn records(&mut self, records: &[command_database::CopiedRecord]) -> Result<(), Error> {
            self.1 += records.len() as u64;
            Ok(())
        }
        fn events(&mut self, events: &[command_database::CopiedEvent]) -> Result<(), Error> {
            self.0 += events.len() as u64;
            Ok(())
        }
    }
    let mut count = Count::default();
    copy(reader, &mut count, &mut go_on).expect("counted");
    (count.0, count.1)
}
