//! All boxes between the API Gateway and the Query Service, in one process that crashes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use command_database::{EventStore, GroupCommit, GroupLimits, SqliteEventStore};
use command_service::{Executor, Relay, RelayConfig};
use event_handler::{Config, EventHandler, Handle, Mode, Parts, ProjectionStatus};
use message_queue::{Fault, InProcessConfig, InProcessQueue, MessageQueue};
use parking_lot::Mutex;
use query_database::{SqliteConfig, SqliteQueryDatabase};
use runtime::{Runtime, Shutdown};
use simulator::{Process, Simulation};
use tempfile::TempDir;
use uuid::Uuid;

use super::{Profile, answers::Rows, client::Front, queue::FlakyQueue};
use crate::{
    domain,
    trace::{Seen, Watched},
};

const LOG: &str = "log.sqlite3";
const ROWS: &str = "rows.sqlite3";

/// The process in its present life, and what outlasts it.
pub(super) struct World {
    pub(super) process: Process,
    pub(super) front: Front,
    /// The queue of the present life, for whoever turns it off.
    pub(super) queue: Arc<Mutex<Option<InProcessQueue>>>,
    /// The rows of the present life, for whoever reads them.
    pub(super) rows: Rows,
    pub(super) metrics: event_handler::Metrics,
    profile: Profile,
    outside: Runtime,
    directory: TempDir,
    lives: u32,
    /// Of the read model that changes.
    version: u32,
    published: Arc<AtomicU64>,
    seen: Arc<Seen>,
    life: Option<Life>,
}

/// What one life of the process holds open.
struct Life {
    log: Arc<SqliteEventStore>,
    handler: Handle,
}

impl World {
    pub(super) fn new(simulation: &Simulation, profile: Profile) -> Self {
        let mut world = Self {
            process: simulation.process("shop"),
            front: Front::default(),
            queue: Arc::default(),
            rows: Rows::default(),
            metrics: event_handler::Metrics::default(),
            profile,
            outside: simulation.runtime(),
            directory: new_directory(),
            lives: 0,
            version: 1,
            published: Arc::default(),
            seen: Arc::default(),
            life: None,
        };
        fs::create_dir(world.place()).expect("a directory can be made");
        world.start();
        world
    }

    pub(super) fn log(&self) -> &SqliteEventStore {
        &self.life.as_ref().expect("the process runs").log
    }

    pub(super) fn rows_path(&self) -> PathBuf {
        self.place().join(ROWS)
    }

    /// How often it began anew.
    pub(super) fn crashes(&self) -> u32 {
        self.lives
    }

    /// How often the relay tried to publish.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// How often another generation began to answer.
    pub(super) fn switches(&self) -> u32 {
        self.seen.switches.load(Ordering::Relaxed)
    }

    /// Whether all read models have the whole log and answer, and the queue is relied on.
    pub(super) async fn has_converged(&self) -> bool {
        let head = self.log().head().await.expect("the log can be read").position;
        let status = self.life.as_ref().expect("the process runs").handler.status();
        let is_level = |each: &ProjectionStatus| each.serving && each.checkpoint == head;
        status.mode == Mode::Queue && status.projections.iter().all(is_level)
    }

    pub(super) fn status(&self) -> event_handler::Status {
        self.life.as_ref().expect("the process runs").handler.status()
    }

    /// Ends the present life, if a crash has not done so already, and begins the next one on the files as they are now.
    ///
    /// Now and then it is another version that starts: the next one, or the one before again.
    ///
    /// They are copied before anybody closes them: closing would tidy up what a process that was killed leaves behind.
    pub(super) fn restart(&mut self) {
        self.process.crash();
        let before = self.place();
        self.lives += 1;
        fs::create_dir(self.place()).expect("a directory can be made");
        for name in [LOG, ROWS] {
            copy(&before, &self.place(), name).expect("the files can be copied");
            copy(&before, &self.place(), &format!("{name}-wal")).expect("the files can be copied");
        }
        if self.profile.loses_rows && self.outside.random_u64().is_multiple_of(2) {
            self.cut_rows_short();
        }
        if self.outside.random_u64().is_multiple_of(3) {
            self.version = 3 - self.version;
        }
        *self.front.lock() = None;
        *self.queue.lock() = None;
        *self.rows.lock() = None;
        self.life = None;
        fs::remove_dir_all(before).expect("the former files can be removed");
        self.start();
    }

    /// As a power cut may leave the rows, which are written without a sync: the end of their write-ahead log is gone. The
    /// log syncs, and has all of its own.
    fn cut_rows_short(&self) {
        let path = self.place().join(format!("{ROWS}-wal"));
        let Ok(file) = fs::File::options().write(true).open(path) else { return };
        let bytes = file.metadata().expect("the file is there").len();
        file.set_len(self.outside.random_u64() % (bytes + 1)).expect("the file can be shortened");
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join(format!("life-{}", self.lives))
    }

    fn start(&mut self) {
        let runtime = self.process.runtime();
        let place = self.place();
        let log = SqliteEventStore::open(&place.join(LOG), &runtime, Default::default()).expect("the log opens");
        let log = Arc::new(log);
        let config = SqliteConfig { readers: 1, list_workers: 1, ..SqliteConfig::default() };
        let rows = SqliteQueryDatabase::open(&place.join(ROWS), &runtime, &config).expect("the rows open");
        let rows = Arc::new(rows);
        let in_process = InProcessQueue::new(runtime.clone(), InProcessConfig::default(), Default::default());
        let queue = Arc::new(FlakyQueue {
            queue: in_process.clone(),
            runtime: runtime.clone(),
            is_flaky: self.profile.is_queue_flaky,
            published: self.published.clone(),
        });
        *self.front.lock() = Some(command_path(&runtime, &log, queue.clone()));
        *self.queue.lock() = Some(in_process);
        let watched = Watched::new(runtime.clone(), rows.clone(), self.seen.clone());
        let handler = EventHandler::start(Parts {
            runtime,
            registry: domain::registry(self.version),
            store: log.clone(),
            queue,
            rows: Arc::new(watched),
            // Few events to a commit, so that a crash finds generations that are filled in part.
            config: Config { head_poll: self.profile.head_poll, batch_events_max: 16, ..Config::default() },
            metrics: self.metrics.clone(),
            shutdown: Shutdown::new(),
        });
        *self.rows.lock() = Some((self.lives, rows));
        self.life = Some(Life { log, handler });
    }
}

fn command_path(runtime: &Runtime, log: &Arc<SqliteEventStore>, queue: Arc<dyn MessageQueue>) -> Executor {
    let store: Arc<dyn EventStore> = log.clone();
    let group = GroupCommit::start(runtime, store.clone(), GroupLimits::default(), Default::default());
    let measured = command_service::Metrics::new();
    // As in a process that alone has the log.
    let only = RelayConfig { holder: Some(Uuid::nil()), ..RelayConfig::default() };
    drop(Relay::start(runtime, store.clone(), queue, group.head_changed(), only, &measured));
    // Few events to a snapshot, so that streams are loaded with and without one.
    let config = command_service::Config { snapshot_every_events: 8, ..Default::default() };
    Executor::start(runtime.clone(), &testkit::domain::registry(), store, group, config, &measured)
}

/// Turns the queue off and on again.
pub(super) async fn disturb(runtime: Runtime, queue: Arc<Mutex<Option<InProcessQueue>>>, ends: Shutdown) {
    while !ends.is_requested() {
        runtime.sleep(Duration::from_millis(runtime.random_u64() % 400)).await;
        let fault = runtime.random_u64().is_multiple_of(2).then_some(Fault::Off);
        if let Some(queue) = &*queue.lock() {
            queue.set_fault(fault.filter(|_| !ends.is_requested()));
        }
    }
}

fn new_directory() -> TempDir {
    // Where nothing reaches a disk there is nothing to wait for; what a power cut does is done to the files by hand.
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a temporary directory can be made")
}

fn copy(from: &Path, to: &Path, name: &str) -> io::Result<()> {
    match fs::copy(from.join(name), to.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.map(drop),
    }
}
