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

use command_database::{
    Append, Error, EventStore, ExpectedVersion, GroupCommit, GroupLimits, Head, IdempotencyRecord, Load as LoadStream,
    Loaded, Outcome, ReadLimit, RelayLease, Snapshot, SqliteConfig, SqliteEventStore,
};
use command_service::{CommandOutcome, CommandService, Config, Executor, Metrics, Precondition, Relay, RelayConfig};
use futures_util::future::{BoxFuture, join_all};
use message_queue::{InProcessConfig, InProcessQueue};
use model::{EpochId, Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use runtime::Runtime;
use testkit::conformance::command_service::Request;
use uuid::Uuid;

const SPAN: Duration = Duration::from_secs(2);
const STREAMS: u64 = 10_000;

/// A log that takes every append and keeps nothing.
struct Unwritten {
    head: AtomicU64,
    empty: Arc<dyn EventStore>,
}

impl Unwritten {
    fn new(empty: Arc<dyn EventStore>) -> Self {
        Self { head: AtomicU64::new(0), empty }
    }

    fn outcome(&self, append: &Append) -> Outcome {
        let events = append.events().len() as u64;
        let before = match append.expected {
            ExpectedVersion::Exactly(version) => version.get(),
            ExpectedVersion::Any | ExpectedVersion::NoStream => 0,
        };
        let head = self.head.fetch_add(events, Ordering::Relaxed);
        Outcome::Committed {
            first: Position::new(if events == 0 { 0 } else { head + 1 }),
            version: StreamVersion::new(before + events),
            head: Position::new(head + events),
            epoch: EpochId(Uuid::nil()),
        }
    }
}

impl EventStore for Unwritten {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Result<Vec<Outcome>, Error>> {
        Box::pin(async move { Ok(batch.iter().map(|append| self.outcome(append)).collect()) })
    }

    fn read(
        &self,
        after: Option<Position>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<std::sync::Arc<StoredEvent>>, Error>> {
        self.empty.read(after, limit)
    }

    fn load(&self, streams: Vec<LoadStream>, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Loaded>, Error>> {
        self.empty.load(streams, limit)
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, Error>> {
        self.empty.read_stream(stream, after, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, Error>> {
        self.empty.head()
    }

    fn lineage(&self) -> BoxFuture<'_, Result<Lineage, Error>> {
        self.empty.lineage()
    }

    fn idempotency(&self, key: Hash) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Error>> {
        self.empty.idempotency(key)
    }

    fn save_snapshot(&self, _: Snapshot) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn lease_relay(&self, holder: Uuid, ttl: Duration) -> BoxFuture<'_, Result<Option<RelayLease>, Error>> {
        self.empty.lease_relay(holder, ttl)
    }

    fn store_relay_cursor(&self, token: u64, cursor: Position) -> BoxFuture<'_, Result<bool, Error>> {
        self.empty.store_relay_cursor(token, cursor)
    }

    fn expire_idempotency(&self, keep: Duration) -> BoxFuture<'_, Result<u64, Error>> {
        self.empty.expire_idempotency(keep)
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<jiff::Timestamp>, Error>> {
        self.empty.last_recorded_at()
    }
}

struct System {
    executor: Executor,
    relay: Relay,
    _directory: tempfile::TempDir,
}

fn system(config: Config, over: fn(Arc<dyn EventStore>) -> Arc<dyn EventStore>) -> System {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::tokio();
    let path = directory.path().join("log.sqlite");
    let log: Arc<dyn EventStore> =
        Arc::new(SqliteEventStore::open(&path, &runtime, SqliteConfig::default()).expect("a fresh directory"));
    let log = over(log);
    let group =
        GroupCommit::start(&runtime, Arc::clone(&log), GroupLimits::default(), command_database::Metrics::default());
    let (registry, metrics) = (testkit::domain::registry(), Metrics::new());
    let executor = Executor::start(runtime.clone(), &registry, Arc::clone(&log), group.clone(), config, &metrics);
    let queue = InProcessConfig { first_subscriber_wait: Duration::ZERO, ..InProcessConfig::default() };
    let queue = Arc::new(InProcessQueue::new(runtime.clone(), queue, message_queue::Metrics::default()));
    let relay = Relay::start(&runtime, log, queue, group.head_changed(), RelayConfig::default(), &metrics);
    System { executor, relay, _directory: directory }
}

struct Load {
    commands_per_second: f64,
    /// Of the whole process, callers included. Of all figures the one that a busy machine changes least.
    processor_per_command: Duration,
    /// In ascending order.
    latencies: Vec<Duration>,
}

async fn load(executor: &Executor, callers: u64, request: impl Fn(u64) -> Request + Send + Sync + 'static) -> Load {
    let used_before = processor_time();
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
    let commands_per_second = latencies.len() as f64 / began.elapsed().as_secs_f64();
    let processor_per_command = (processor_time() - used_before) / u32::try_from(latencies.len()).unwrap_or(u32::MAX);
    latencies.sort_unstable();
    Load { commands_per_second, processor_per_command, latencies }
}

/// User and system time of this process (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn report(what: &str, callers: u64, load: &Load) {
    let Load { commands_per_second, processor_per_command, latencies } = load;
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{what:24} {callers:4} callers {commands_per_second:9.0}/s {processor_per_command:>9.1?} each   p50 {:>9.1?}   p99 {:>9.1?}",
        at(0.5),
        at(0.99)
    );
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
    println!("nothing is written, for the share of the service itself");
    measure(&system(config(), |log| Arc::new(Unwritten::new(log))), 256).await;
    println!("SQLite");
    for callers in [1, 64, 256] {
        let system = system(config(), |log| log);
        measure(&system, callers).await;
        let began = Instant::now();
        system.executor.drain().await;
        system.relay.drain().await;
        println!("                         drained in {:.1?}", began.elapsed());
    }
}

async fn measure(system: &System, callers: u64) {
    let opened = load(&system.executor, callers, |index| {
        Request::open(&format!("account-{index}")).demanding(Precondition::Absent)
    });
    report("new streams", callers, &opened.await);
    for begin in (0..STREAMS).step_by(500) {
        // Some are open already.
        let open = |index| system.executor.execute(Request::open(&format!("account-{index}")).build());
        join_all((begin..begin + 500).map(open)).await;
    }
    // A stride that visits all streams before it comes back.
    let many = |index: u64| Request::deposit(&format!("account-{}", index * 7919 % STREAMS), 5);
    system.executor.execute(Request::open("hot").build()).await;
    load(&system.executor, 64, many).await;
    report("many hot streams", callers, &load(&system.executor, callers, many).await);
    report("one stream", callers, &load(&system.executor, callers, |_| Request::deposit("hot", 5)).await);
    let keyed = move |index: u64| many(index).keyed(&index.to_string());
    report("many streams, keyed", callers, &load(&system.executor, callers, keyed).await);
}
