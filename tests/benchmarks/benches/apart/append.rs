//! Appending through `EventStore` beside bare inserts of the rows that it leaves.
//!
//! Those rows are taken from a log that the same batches were appended to, and the tables made like the log's, so that nothing
//! can be missing from them. Bare is what a program would do that knew all of it before: one transaction a batch, of UNNEST
//! statements that look nothing up, and the next batches on their way while one commits.

use std::time::Instant;

use benchmarks::{Spread, figure, report};
use cluster::{Postgres, PostgresServer};
use command_database::{Append, EventStore, ExpectedVersion, Outcome, PostgresConfig, PostgresEventStore};
use futures_util::{StreamExt, stream};
use model::StreamVersion;
use runtime::Runtime;
use testkit::conformance::event_store::Request;
use tokio_postgres::{Client, NoTls};

use self::rows::{Rows, Statements};

mod rows;

/// Appended before anything is measured: connections, plans and caches are there then.
const WARM_UP: usize = 4_096;
const EVENTS: usize = 20_480;
/// As the benchmarks' events have on average.
const PAYLOAD_BYTES: usize = 250;
/// A stream goes on so many events after it began: in a later batch.
const APART: usize = 1_024;
const BATCHES: [usize; 2] = [64, 256];
/// Bare batches that are sent before the first of them is answered: the server never waits for the next one.
const IN_FLIGHT: usize = 4;

pub(crate) fn append(rounds: usize) {
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let server = Postgres::new().start().expect("a PostgreSQL");
    for batch in BATCHES {
        let rows = threads.block_on(rows_of(&server, batch));
        let (mut shares, mut rates, mut of_events) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let rate = |name: &str, rows: Option<(&Rows, Bare)>| {
                threads.block_on(async {
                    let log = Log::fresh(&server, &format!("{name}_{batch}_{round}")).await;
                    match rows {
                        None => log.append_all(batch).await,
                        Some((rows, what)) => log.insert_all(rows, what).await,
                    }
                })
            };
            let ours = rate("ours", None);
            let everything = rate("bare", Some((&rows, Bare::Everything)));
            let events = rate("barest", Some((&rows, Bare::Events)));
            rates.push(ours);
            shares.push(ours / everything);
            of_events.push(ours / events);
        }
        let what = format!("appends in batches of {batch}, of bare UNNEST of the same rows");
        report("", &what, Spread::of(shares), 0.5, true);
        figure("  events/s", Spread::of(rates));
        figure("  of bare UNNEST of the events alone", Spread::of(of_events));
    }
}

/// What is inserted bare.
#[derive(Clone, Copy)]
enum Bare {
    /// All that an append writes, in one transaction a batch.
    Everything,
    /// The events, in one statement a batch.
    Events,
}

/// What a rate is counted from: when the warm-up was through.
struct Clock(Instant);

impl Clock {
    fn rate(&self) -> f64 {
        EVENTS as f64 / self.0.elapsed().as_secs_f64()
    }
}

/// A log that nobody else uses.
struct Log {
    url: String,
    /// With what holds for the log's own statements.
    client: Client,
}

impl Log {
    async fn fresh(server: &PostgresServer, name: &str) -> Self {
        let others = connect(&server.url("postgres")).await;
        others.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let url = server.url(name);
        PostgresEventStore::migrate(&PostgresConfig::new(url.as_str())).await.expect("a log");
        // What is still to be written of the run before is written before this one.
        others.batch_execute("CHECKPOINT").await.expect("a checkpoint");
        let client = connect(&url).await;
        client.batch_execute(rows::SESSION).await.expect("a session");
        Self { url, client }
    }

    /// Events a second through the store, one batch after the other as a group commit sends them.
    async fn append_all(&self, batch: usize) -> f64 {
        let batches: Vec<Vec<Append>> = batches(batch);
        let config = PostgresConfig::new(self.url.as_str());
        let store = PostgresEventStore::open(config, &Runtime::tokio()).await.expect("the log opens");
        let (mut clock, mut appended) = (Clock(Instant::now()), 0);
        for batch in batches {
            if appended == WARM_UP {
                clock = Clock(Instant::now());
            }
            appended += batch.len();
            let outcomes = store.append(batch).await.expect("appended");
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })), "{outcomes:?}");
        }
        clock.rate()
    }

    /// Events a second that are inserted bare.
    async fn insert_all(&self, rows: &Rows, what: Bare) -> f64 {
        self.client.batch_execute(rows::TABLES).await.expect("tables like the log's");
        let statements = Statements::prepare(&self.client).await;
        let (warm_up, measured) = rows.batches.split_at(WARM_UP / rows.batches[0].events());
        for (batches, is_measured) in [(warm_up, false), (measured, true)] {
            let clock = Clock(Instant::now());
            let sent = stream::iter(batches).map(|batch| async {
                match what {
                    Bare::Everything => statements.insert(&self.client, batch).await,
                    Bare::Events => statements.insert_events(&self.client, batch).await,
                }
            });
            sent.buffered(IN_FLIGHT).for_each(|()| async {}).await;
            if is_measured {
                let rate = clock.rate();
                let count = self.client.query_one("SELECT count(*) FROM bare.event_rows", &[]).await.expect("counted");
                assert_eq!(count.get::<_, i64>(0), (WARM_UP + EVENTS) as i64, "every event is inserted");
                return rate;
            }
        }
        unreachable!("something is measured")
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

/// Commands of one event, half of which begin a stream and half go on with one, each with an idempotency key.
fn batches(batch: usize) -> Vec<Vec<Append>> {
    let (runtime, payload) = (Runtime::tokio(), "x".repeat(PAYLOAD_BYTES));
    let command = |number: usize| {
        let goes_on = number % 2 == 1 && number > APART;
        let stream = if goes_on { number - 1 - APART } else { number };
        let expected = match StreamVersion::new(1).filter(|_| goes_on) {
            Some(version) => ExpectedVersion::Exactly(version),
            None => ExpectedVersion::NoStream,
        };
        let request = Request::new(&runtime, &format!("stream-{stream}")).expecting(expected);
        request.event(payload.clone()).key(&format!("key-{number}"), "body").build()
    };
    let numbers: Vec<usize> = (0..WARM_UP + EVENTS).collect();
    numbers.chunks(batch).map(|numbers| numbers.iter().map(|number| command(*number)).collect()).collect()
}

/// What these batches leave in a log; inserted bare it comes to the same, row by row.
async fn rows_of(server: &PostgresServer, batch: usize) -> Rows {
    let log = Log::fresh(server, &format!("taken_{batch}")).await;
    log.append_all(batch).await;
    let rows = Rows::read(&log.client, batch).await;
    log.insert_all(&rows, Bare::Everything).await;
    rows::compare(&log.client).await;
    rows
}
