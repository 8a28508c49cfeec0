//! Where the tests' logs are, and what goes into them.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use command_database::{Append, EventStore, Load, SqliteConfig, SqliteEventStore};
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use model::{Hash, StreamId, Tenant};
use parking_lot::Mutex;
use runtime::{Engine, Job, Leave, Runtime, WorkerQueue};
use tempfile::TempDir;
use testkit::conformance::event_store::{Place, Request};

pub(crate) const FILE: &str = "log.sqlite3";

/// A directory for a log.
pub(crate) struct Given {
    directory: TempDir,
    pub(crate) runtime: Runtime,
}

impl Given {
    pub(crate) fn on(runtime: Runtime) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory for the log"), runtime }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    pub(crate) fn write_ahead_log(&self) -> PathBuf {
        self.directory.path().join(format!("{FILE}-wal"))
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn open(&self) -> SqliteEventStore {
        self.open_with(SqliteConfig::default())
    }

    pub(crate) fn open_with(&self, config: SqliteConfig) -> SqliteEventStore {
        SqliteEventStore::open(&self.path(), &self.runtime, config).expect("the log opens")
    }

    pub(crate) fn refusal_to_open(&self) -> command_database::Error {
        SqliteEventStore::open(&self.path(), &self.runtime, SqliteConfig::default()).expect_err("a refusal")
    }

    pub(crate) fn append(&self, stream: &str, payload: &str) -> Append {
        Request::new(&self.runtime, stream).event(payload.to_owned()).build()
    }

    /// The file with SQL run on it by hand, with nobody else there.
    pub(crate) fn by_hand(&self, statements: &str) {
        let connection = rusqlite::Connection::open(self.path()).expect("the file opens");
        connection.execute_batch(statements).expect("the statements run");
    }
}

pub(crate) fn load(id: &str) -> Load {
    Load { stream: stream(id), state_shape: Hash::default() }
}

pub(crate) fn stream(id: &str) -> StreamId {
    StreamId { tenant: Tenant::default(), aggregate: "order".into(), id: id.into() }
}

/// Opens an embedded log for the conformance suite.
pub(crate) async fn open_at(place: Place) -> Arc<dyn EventStore> {
    let store = SqliteEventStore::open(&place.directory.join(FILE), &place.runtime, SqliteConfig::default());
    Arc::new(store.expect("the log opens"))
}

/// An engine as a simulation has it: blocking work is done on the spot, and time passes only while somebody sleeps.
#[derive(Clone, Default)]
pub(crate) struct ByHand {
    clocks: Arc<Clocks>,
}

#[derive(Default)]
struct Clocks {
    now: Mutex<Duration>,
    /// Microseconds since 1970.
    wall: AtomicI64,
    random: Mutex<u64>,
}

impl ByHand {
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::new(self.clone())
    }

    pub(crate) fn pass(&self, span: Duration) {
        *self.clocks.now.lock() += span;
    }

    pub(crate) fn set_wall_clock(&self, microseconds: i64) {
        self.clocks.wall.store(microseconds, Ordering::Relaxed);
    }
}

impl Engine for ByHand {
    fn now(&self) -> Duration {
        *self.clocks.now.lock()
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::from_microsecond(self.clocks.wall.load(Ordering::Relaxed)).expect("within range")
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.pass(span);
        Box::pin(ready(()))
    }

    #[allow(clippy::disallowed_methods, reason = "this is what stands behind the runtime here")]
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut random = self.clocks.random.lock();
        for byte in bytes {
            // SplitMix64, of which any byte will do.
            *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    }

    fn leave_to_block(&self) -> Option<Leave> {
        None
    }

    fn yield_thread(&self) {}

    fn worker(&self, _name: &str) -> Box<dyn WorkerQueue> {
        Box::new(OnTheSpot)
    }
}

struct OnTheSpot;

impl WorkerQueue for OnTheSpot {
    fn submit(&self, job: Job) {
        job();
    }
}
