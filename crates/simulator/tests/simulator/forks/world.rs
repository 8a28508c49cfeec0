//! The log in all its lives, and the process that reads it.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use command_database::{EventStore, ReadLimit, SqliteEventStore};
use event_handler::{Config, EventHandler, Handle, Mode, Parts, ProjectionStatus};
use message_queue::{Fault, InProcessConfig, InProcessQueue, MessageQueue};
use model::{EpochId, Position};
use parking_lot::Mutex;
use query_database::{RowWriter, SqliteConfig, SqliteQueryDatabase};
use query_service::{Limits, Queries};
use runtime::{Runtime, Shutdown};
use simulator::{Process, Simulation};
use tempfile::TempDir;
use testkit::ReplaceableStore;

use super::{
    asking::Questions,
    history::{Histories, Life},
};
use crate::{
    domain::{self, LEDGER, SLIPS},
    trace::{Seen, Watched},
};

const ALL: ReadLimit = ReadLimit { events_max: usize::MAX, bytes_max: usize::MAX };

/// How long a call to the log takes at most.
const CALL_MAX: Duration = Duration::from_millis(2);

/// The bytes of a log and of its write-ahead log.
type Copy = [Vec<u8>; 2];

pub(super) struct World {
    pub(super) log: Arc<ReplaceableStore>,
    /// The queue of the process's present life, for whoever turns it off.
    pub(super) queue: Arc<Mutex<Option<InProcessQueue>>>,
    process: Process,
    outside: Runtime,
    directory: TempDir,
    /// All lives of the log, the present one last.
    lives: Vec<Arc<SqliteEventStore>>,
    copies: Vec<Copy>,
    changed_at: Arc<Mutex<Duration>>,
    service: Arc<Mutex<Option<Arc<Queries>>>>,
    starts: u32,
    version: u32,
    seen: Arc<Seen>,
    running: Option<Running>,
}

struct Running {
    rows: Arc<SqliteQueryDatabase>,
    handler: Handle,
}

impl World {
    pub(super) fn new(simulation: &Simulation) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("a temporary directory can be made");
        let outside = simulation.runtime();
        let path = directory.path().join("log-0.sqlite3");
        let first = SqliteEventStore::open(&path, &outside, Default::default()).expect("a new log");
        let first = Arc::new(first);
        let mut world = Self {
            log: Arc::new(ReplaceableStore::far_away(first.clone(), outside.clone(), CALL_MAX)),
            queue: Arc::default(),
            process: simulation.process("shop"),
            outside,
            directory,
            lives: vec![first],
            copies: Vec::new(),
            changed_at: Arc::default(),
            service: Arc::default(),
            starts: 0,
            version: 1,
            seen: Arc::default(),
            running: None,
        };
        world.start();
        world
    }

    pub(super) fn questions(&self) -> Questions {
        Questions {
            runtime: self.outside.clone(),
            log: self.log.clone(),
            service: self.service.clone(),
            changed_at: self.changed_at.clone(),
        }
    }

    pub(super) fn service(&self) -> Arc<Queries> {
        self.service.lock().clone().expect("the process runs")
    }

    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    pub(super) fn switches(&self) -> u32 {
        self.seen.switches.load(Ordering::Relaxed)
    }

    pub(super) fn rows_path(&self) -> PathBuf {
        self.directory.path().join("rows.sqlite3")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join(format!("log-{}.sqlite3", self.lives.len() - 1))
    }

    /// Keeps the log as it is now: nobody writes between two steps.
    pub(super) fn copy_log(&mut self) {
        let path = self.log_path();
        self.copies.push([&path, &path.with_extension("sqlite3-wal")].map(|path| fs::read(path).unwrap_or_default()));
    }

    /// Goes on, in another life, where the log was copied last, which is now.
    pub(super) async fn begin_epoch(&mut self) {
        let copy = self.copies.last().expect("it was copied").clone();
        self.restore_from(&copy).await;
    }

    /// Goes on, in another life, at some state that the log once had.
    pub(super) async fn restore(&mut self) {
        let index = self.outside.random_u64() % self.copies.len() as u64;
        let copy = self.copies[usize::try_from(index).expect("few copies")].clone();
        self.restore_from(&copy).await;
    }

    async fn restore_from(&mut self, copy: &Copy) {
        let store = self.open_next(Some(copy));
        store.begin_epoch().await.expect("another life begins");
        self.go_on_with(store);
    }

    /// Goes on with another log.
    pub(super) fn replace_log(&mut self) {
        let store = self.open_next(None);
        self.go_on_with(store);
    }

    fn open_next(&self, copy: Option<&Copy>) -> SqliteEventStore {
        let path = self.directory.path().join(format!("log-{}.sqlite3", self.lives.len()));
        if let Some([log, write_ahead_log]) = copy {
            fs::write(&path, log).expect("the copy is written");
            fs::write(path.with_extension("sqlite3-wal"), write_ahead_log).expect("the copy is written");
        }
        SqliteEventStore::open(&path, &self.outside, Default::default()).expect("the log opens")
    }

    fn go_on_with(&mut self, store: SqliteEventStore) {
        let store = Arc::new(store);
        self.lives.push(store.clone());
        self.log.replace(store);
        *self.changed_at.lock() = self.outside.now();
    }

    pub(super) fn crash(&mut self) {
        self.process.crash();
        *self.queue.lock() = None;
        *self.service.lock() = None;
        self.running = None;
    }

    /// Starts the process, now and then as the other version.
    pub(super) fn start(&mut self) {
        self.starts += 1;
        if self.outside.random_u64().is_multiple_of(3) {
            self.version = 3 - self.version;
        }
        let runtime = self.process.runtime();
        let config = SqliteConfig { readers: 1, list_workers: 1, ..SqliteConfig::default() };
        let rows = SqliteQueryDatabase::open(&self.rows_path(), &runtime, &config).expect("the rows open");
        let rows = Arc::new(rows);
        let queue = InProcessQueue::new(runtime.clone(), InProcessConfig::default(), Default::default());
        drop(runtime.spawn("relay", relay(runtime.clone(), self.log.clone(), queue.clone())));
        let watched = Watched::new(runtime.clone(), rows.clone(), self.seen.clone());
        let handler = EventHandler::start(Parts {
            runtime: runtime.clone(),
            registry: domain::registry(self.version),
            store: self.log.clone(),
            queue: Arc::new(queue.clone()),
            rows: Arc::new(watched),
            // Every look at the head is stored: that of a new log must not be so with what is of the old one.
            config: Config { batch_events_max: 16, head_refresh: Duration::from_millis(50), ..Config::default() },
            metrics: event_handler::Metrics::default(),
            shutdown: Shutdown::new(),
        });
        let metrics = query_service::Metrics::new(&mut Default::default());
        let names = vec![LEDGER.to_owned(), SLIPS.to_owned()];
        let service = Queries::new(runtime, rows.clone(), names, &[7; 32], Limits::default(), &metrics);
        *self.queue.lock() = Some(queue);
        *self.service.lock() = Some(Arc::new(service));
        *self.changed_at.lock() = self.outside.now();
        self.running = Some(Running { rows, handler });
    }

    pub(super) fn status(&self) -> event_handler::Status {
        self.running.as_ref().expect("the process runs").handler.status()
    }

    /// Whether all read models have the whole log and answer, and the queue is relied on.
    pub(super) async fn has_converged(&self) -> bool {
        let head = self.log.head().await.expect("the log can be read").position;
        let status = self.status();
        let is_level = |each: &ProjectionStatus| each.serving && each.checkpoint == head && each.alarm.is_none();
        status.mode == Mode::Queue && status.projections.iter().all(is_level)
    }

    /// The epochs that the rows ever heard of.
    pub(super) fn known_epochs(&self) -> BTreeSet<EpochId> {
        self.seen.epochs.lock().clone()
    }

    pub(super) async fn histories(&self) -> Histories {
        let mut lives = Vec::new();
        for log in &self.lives {
            let events = log.read(None, ALL).await.expect("the log can be read");
            lives.push(Life { events, lineage: log.lineage().await.expect("the log can be read") });
        }
        let rows = &self.running.as_ref().expect("the process runs").rows;
        let generations = rows.generations().await.expect("the generations can be read");
        let generations = generations.into_iter().map(|each| (each.generation, (each.read_model, each.version)));
        Histories { lives, generations: generations.collect() }
    }
}

/// A relay that notices another life of the log, and then goes back to where that begins.
async fn relay(runtime: Runtime, log: Arc<ReplaceableStore>, queue: InProcessQueue) {
    let head = log.head().await.expect("the log can be read");
    let mut epoch = head.epoch;
    let mut cursor = queue.resume_after(head.position).await.unwrap_or(head.position);
    loop {
        let lineage = log.lineage().await.expect("the log can be read");
        if let Some(current) = lineage.current().filter(|current| current.id != epoch) {
            epoch = current.id;
            cursor = cursor.min(Position::new(current.first.get() - 1));
        }
        let events = log.read(cursor, ReadLimit::default()).await.expect("the log can be read");
        // The log that was read may be another one than whose lineage was.
        let Some(last) = events.last().filter(|last| lineage.epoch_of(last.position) == Some(last.epoch)) else {
            runtime.sleep(Duration::from_millis(2)).await;
            continue;
        };
        let last = last.position;
        match queue.publish(events).await {
            Ok(_) => cursor = Some(last),
            Err(_) => runtime.sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Turns the queue off and on again.
pub(super) async fn disturb(runtime: Runtime, queue: Arc<Mutex<Option<InProcessQueue>>>, ends: Shutdown) {
    while !ends.is_requested() {
        runtime.sleep(Duration::from_millis(runtime.random_u64() % 600)).await;
        let fault = runtime.random_u64().is_multiple_of(3).then_some(Fault::Off);
        if let Some(queue) = &*queue.lock() {
            queue.set_fault(fault.filter(|_| !ends.is_requested()));
        }
    }
}
