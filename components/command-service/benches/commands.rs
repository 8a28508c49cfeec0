//! Commands a second through executor, group commit and the log in SQLite, without HTTP.
//!
//! `cargo bench -p diptych-command-service`. Closed loop: each caller sends its next command when it has its answer. The
//! directory is under `TMPDIR`; on a file system in memory the figures say little.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints"
)]

use std::{
    fs::File,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use command_database::{EventStore, GroupCommit, GroupLimits, SqliteConfig, SqliteEventStore};
use command_service::{CommandOutcome, CommandService, Config, Executor, Metrics, Precondition, Relay, RelayConfig};
use message_queue::{InProcessConfig, InProcessQueue};
use runtime::Runtime;
use testkit::conformance::command_service::Request;

const SPAN: Duration = Duration::from_secs(2);
const STREAMS: u64 = 10_000;

struct System {
    executor: Executor,
    relay: Relay,
    _directory: tempfile::TempDir,
}

fn system(config: Config) -> System {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::tokio();
    let path = directory.path().join("log.sqlite");
    let log: Arc<dyn EventStore> =
        Arc::new(SqliteEventStore::open(&path, &runtime, SqliteConfig::default()).expect("a fresh directory"));
    let group =
        GroupCommit::start(&runtime, Arc::clone(&log), GroupLimits::default(), command_database::Metrics::default());
    let (registry, metrics) = (testkit::domain::registry(), Metrics::new());
    let executor = Executor::start(runtime.clone(), &registry, Arc::clone(&log), group.clone(), config, &metrics);
    let queue = InProcessConfig { first_subscriber_wait: Duration::ZERO, ..InProcessConfig::default() };
    let queue = Arc::new(InProcessQueue::new(runtime.clone(), queue, message_queue::Metrics::default()));
    let relay = Relay::start(&runtime, log, queue, group.head_changed(), RelayConfig::default(), &metrics);
    System { executor, relay, _directory: directory }
}

/// Commands a second, and the latencies in ascending order.
async fn load(
    executor: &Executor,
    callers: u64,
    request: impl Fn(u64) -> Request + Send + Sync + 'static,
) -> (f64, Vec<Duration>) {
    let (next, request) = (Arc::new(AtomicU64::new(0)), Arc::new(request));
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (executor, next, request) = (executor.clone(), Arc::clone(&next), Arc::clone(&request));
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(100_000);
                while began.elapsed() < SPAN {
                    let request = request(next.fetch_add(1, Ordering::Relaxed)).build();
                    let sent = Instant::now();
                    let outcome = executor.execute(request).await;
                    latencies.push(sent.elapsed());
                    assert!(matches!(outcome, CommandOutcome::Accepted { .. }), "{outcome:?}");
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a caller"));
    }
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    (rate, latencies)
}

fn report(what: &str, callers: u64, (rate, latencies): &(f64, Vec<Duration>)) {
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!("{what:24} {callers:4} callers {rate:9.0}/s   p50 {:>9.1?}   p99 {:>9.1?}", at(0.5), at(0.99));
}

fn fdatasync() -> Duration {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut file = File::create(directory.path().join("file")).expect("a file");
    file.write_all(&vec![0; 1 << 20]).expect("space");
    file.sync_all().expect("a disk");
    let mut spans: Vec<Duration> = (0..500)
        .map(|index: u64| {
            let began = Instant::now();
            std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], index * 2048).expect("space");
            file.sync_data().expect("a disk");
            began.elapsed()
        })
        .collect();
    spans.sort_unstable();
    spans[250]
}

#[tokio::main]
async fn main() {
    println!("fdatasync of a preallocated page: p50 {:.1?}", fdatasync());
    let shards = std::env::var("SHARDS").ok().and_then(|text| text.parse().ok());
    let config = || Config { shards: shards.unwrap_or(Config::default().shards), ..Config::default() };
    for callers in [1, 64, 256] {
        let system = system(config());
        let opened = load(&system.executor, callers, |index| {
            Request::open(&format!("account-{index}")).demanding(Precondition::Absent)
        });
        report("new streams", callers, &opened.await);
        for index in 0..STREAMS {
            drop(system.executor.execute(Request::open(&format!("account-{index}")).build()));
            if index % 1000 == 0 {
                Runtime::tokio().sleep(Duration::from_millis(20)).await;
            }
        }
        // A stride that visits all streams before it comes back.
        let many = |index: u64| Request::deposit(&format!("account-{}", index * 7919 % STREAMS), 5);
        system.executor.execute(Request::open("hot").build()).await;
        load(&system.executor, 64, many).await;
        report("many hot streams", callers, &load(&system.executor, callers, many).await);
        report("one stream", callers, &load(&system.executor, callers, |_| Request::deposit("hot", 5)).await);
        let keyed = move |index: u64| many(index).keyed(&index.to_string());
        report("many streams, keyed", callers, &load(&system.executor, callers, keyed).await);
        let began = Instant::now();
        system.executor.drain().await;
        system.relay.drain().await;
        println!("                         drained in {:.1?}", began.elapsed());
    }
}
