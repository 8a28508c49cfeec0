//! Several processes, and servers that die.

use std::{collections::BTreeMap, time::Duration};

use cluster::Postgres;
use command_database::{Error, EventStore, ExpectedVersion, Outcome, PostgresEventStore, ReadLimit};
use futures_util::future::join_all;
use model::{Position, StreamVersion};
use runtime::{Runtime, Task};

use super::given::{Database, append, config, connect, log, open, request};

/// Appends `count` batches, each of commands that expect what was read, that do not care, and that are bound to lose.
async fn busy(store: PostgresEventStore, process: usize, count: usize) -> usize {
    let mut committed = 0;
    for number in 0..count {
        let shared = format!("shared-{}", number % 3);
        let version =
            store.read_stream(crate::given::stream(&shared), None, ReadLimit::default()).await.expect("a stream");
        let expected = ExpectedVersion::of(version.last().map(|event| event.version));
        let own = format!("own-{process}");
        let batch = vec![
            request(&shared, "expecting").event("a second one").expecting(expected).build(),
            request(&own, "whatever it is").build(),
            request(&own, "never").expecting(ExpectedVersion::Exactly(StreamVersion::FIRST.plus(1_000_000))).build(),
            request(&format!("new-{process}-{number}"), "first").expecting(ExpectedVersion::NoStream).build(),
        ];
        for (outcome, events) in append(&store, batch).await.iter().zip([2, 1, 1, 1]) {
            committed += if matches!(outcome, Outcome::Committed { .. }) { events } else { 0 };
        }
    }
    committed
}

/// Follows the log and returns how many events it saw. Whatever was below the head when it asked is there when it reads.
async fn follow(store: PostgresEventStore, until: Task<()>) -> u64 {
    let mut until = Box::pin(until);
    let mut last: Option<Position> = None;
    loop {
        let is_over = futures_util::poll!(&mut until).is_ready();
        let head = store.head().await.expect("the head").position;
        while last < head {
            let events = store.read(last, ReadLimit { events_max: 7, bytes_max: usize::MAX }).await.expect("a read");
            assert!(!events.is_empty(), "it stalls at {last:?} while the head is {head:?}");
            for event in events {
                assert_eq!(event.position, Position::after(last));
                last = Some(event.position);
            }
        }
        if is_over {
            return Position::count(last);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_several_processes_are_dense_and_seen_in_order_whatever_else_the_server_does() {
    let database = Database::migrated().await;
    let (idle, sleeping, undoing) = (database.by_hand().await, database.by_hand().await, database.by_hand().await);
    // With transaction ids of their own, so that they are older writers than all that follow.
    idle.batch_execute("BEGIN; SELECT txid_current(); CREATE TABLE public.beside ()")
        .await
        .expect("idle in transaction");
    let runtime = Runtime::tokio();
    let sleeping = runtime.spawn("sleeping", async move {
        sleeping.batch_execute("BEGIN; SELECT txid_current(); SELECT pg_sleep(60); COMMIT").await.ok();
    });
    let undoing = runtime.spawn("undoing", async move {
        loop {
            let undone = "BEGIN; UPDATE diptych.log_head SET position = position + 10; SELECT pg_sleep(0.01); ROLLBACK";
            undoing.batch_execute(undone).await.expect("undone");
        }
    });
    let mut stores = Vec::new();
    for _ in 0..5 {
        stores.push(database.open().await);
    }
    let follower = stores.pop().expect("a store");
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let until = runtime.spawn("until", async move { end.await.unwrap_or_default() });
    let following = runtime.spawn("following", follow(follower, until));
    let busy =
        stores.iter().cloned().enumerate().map(|(process, store)| runtime.spawn("busy", busy(store, process, 15)));
    let committed = join_all(busy).await.into_iter().map(|count| count.expect("it ends")).sum::<usize>();
    ended.send(()).expect("the follower is there");
    assert_eq!(following.await, Some(committed as u64), "the follower saw all and nothing else");
    drop((sleeping, undoing, idle));

    let events = log(&stores[0]).await;
    assert_eq!(events.len(), committed);
    let mut versions = BTreeMap::new();
    for event in &events {
        let version = versions.entry(event.stream.clone()).or_insert(0);
        *version += 1;
        assert_eq!(event.version.get(), *version, "versions of {} are dense", event.stream);
    }
    assert!(events.len() >= 4 * 15 * 2, "what nobody contends for is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sent_to_several_processes_at_once_is_one_command() {
    let database = Database::migrated().await;
    let stores = [database.open().await, database.open().await, database.open().await];
    for round in 0..10 {
        let key = format!("key-{round}");
        let appends = stores.iter().enumerate().map(|(process, store)| {
            append(store, vec![request(&format!("{process}-{round}"), "1").key(&key, "body").build()])
        });
        let outcomes = join_all(appends).await.concat();
        let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
        let counted = (
            count(|outcome| matches!(outcome, Outcome::Committed { .. })),
            count(|outcome| matches!(outcome, Outcome::Replayed(_))),
        );
        assert_eq!(counted, (1, 2), "{outcomes:?}");
    }
    assert_eq!(log(&stores[0]).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_the_server_was_killed_is_there_once() {
    let mut server = Postgres::new().start().expect("a server");
    connect(&server.url("postgres")).await.batch_execute("CREATE DATABASE log").await.expect("a database");
    let url = server.url("log");
    PostgresEventStore::migrate(&config(&url)).await.expect("a log is made");
    let runtime = Runtime::tokio();
    let mut sending = Vec::new();
    for process in 0..3 {
        let store = open(&url).await;
        sending.push(runtime.spawn("sending", async move {
            let mut answers = Vec::new();
            for number in 0.. {
                let name = format!("{process}-{number}");
                let batch = ["a", "b"].map(|part| {
                    let name = format!("{name}-{part}");
                    request(&name, name.clone()).key(&name, "body").build()
                });
                let answer = store.append(batch.to_vec()).await;
                let failed = answer.is_err();
                answers.push((name, answer));
                if failed {
                    break;
                }
            }
            answers
        }));
    }
    runtime.sleep(Duration::from_millis(400)).await;
    // One that is in the middle of a long read, too.
    let patient = open(&url).await;
    server.kill().expect("killed");
    let answers = join_all(sending).await.into_iter().flatten().flatten().collect::<Vec<_>>();
    let reading = runtime.spawn("reading", async move { patient.head().await.map(|head| head.position) });
    server.start().expect("started again");
    reading.await.expect("it ends").expect("a read outlives the server's absence");

    let store = open(&url).await;
    let mut found = BTreeMap::new();
    for event in log(&store).await {
        *found.entry(String::from_utf8_lossy(&event.payload).into_owned()).or_insert(0) += 1;
    }
    let (mut acknowledged, mut failed) = (0, 0);
    for (name, answer) in answers {
        let both = ["a", "b"].map(|part| found.get(&format!("{name}-{part}")).copied().unwrap_or(0));
        match answer {
            Ok(outcomes) => {
                acknowledged += 1;
                assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));
                assert_eq!(both, [1, 1], "{name} was acknowledged");
            }
            Err(error @ Error::Commit { .. }) => {
                failed += 1;
                assert!(!error.is_retryable());
                assert!(both == [0, 0] || both == [1, 1], "{name} is unknown: {both:?}");
            }
            Err(error) => {
                failed += 1;
                assert!(error.is_retryable(), "{error}");
                assert_eq!(both, [0, 0], "{name} was not sent: {error}");
            }
        }
        // Whatever became of it: the same key again makes it so, once.
        let again = request(&format!("{name}-a"), format!("{name}-a")).key(&format!("{name}-a"), "body").build();
        append(&store, vec![again]).await;
    }
    assert!(acknowledged > 10 && failed == 3, "{acknowledged} acknowledged, {failed} failed");
    let mut names = BTreeMap::new();
    for event in log(&store).await {
        *names.entry(event.payload).or_insert(0) += 1;
    }
    assert!(names.into_values().all(|count| count == 1), "nothing is there twice");
    assert_eq!(store.lineage().await.expect("the lineage").0.len(), 1, "a crash alone begins no epoch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_waits_too_long_for_the_others_was_not_written() {
    let database = Database::migrated().await;
    let config = command_database::PostgresConfig { lock_timeout: Duration::from_millis(100), ..config(&database.url) };
    let store = PostgresEventStore::open(config, &Runtime::tokio()).await.expect("the log opens");
    let holder = database.by_hand().await;
    holder.batch_execute("BEGIN; SELECT * FROM diptych.log_head FOR UPDATE").await.expect("held");
    let error = store.append(vec![request("a", "1").build()]).await.expect_err("it is held");
    assert!(matches!(error, Error::Write { .. }) && error.is_retryable(), "{error}");
    assert_eq!(log(&store).await.len(), 0, "readers wait for nobody");
    holder.batch_execute("ROLLBACK").await.expect("let go");
    append(&store, vec![request("a", "2").build()]).await;
    assert_eq!(log(&store).await.len(), 1);
}
