//! What every [`EventStore`] must do.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use command_database::{SqliteConfig, SqliteEventStore};
//! # use testkit::conformance::event_store::failures;
//! # async fn example(runtime: runtime::Runtime) {
//! let open = async |place: testkit::conformance::event_store::Place| {
//!     let path = place.directory.join("log.sqlite3");
//!     let store = SqliteEventStore::open(&path, &place.runtime, SqliteConfig::default());
//!     Arc::new(store.expect("the log opens")) as Arc<dyn command_database::EventStore>
//! };
//! assert_eq!(failures(open, &runtime).await, []);
//! # }
//! ```

mod appending;
pub mod broken;
mod durability;
mod housekeeping;
mod idempotency;
mod memory;
mod reading;
mod request;
mod snapshots;

use std::{path::PathBuf, sync::Arc};

use command_database::{EventStore, Head, Outcome, ReadLimit};
use futures_util::future::BoxFuture;
use model::{Hash, Position, StoredEvent, StreamId, StreamVersion};
use runtime::Runtime;
use tempfile::TempDir;

pub use self::{memory::MemoryEventStore, request::Request};

/// Where a store is to be opened. The same place again is the same log.
#[derive(Clone, Debug)]
pub struct Place {
    /// A directory that is the log's own; empty at the first opening.
    pub directory: PathBuf,
    /// Where the store is to run.
    pub runtime: Runtime,
}

/// A promise that was broken, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The promise, as a sentence.
    pub test: &'static str,
    /// What was seen.
    pub reason: String,
}

type Checked = Result<(), String>;
type Test = (&'static str, for<'a, 'b> fn(&'a Subject<'b>) -> BoxFuture<'a, Checked>);
type Open<'a> = &'a (dyn Fn(Place) -> BoxFuture<'a, Arc<dyn EventStore>> + Sync);

/// Checks every promise, each on a log of its own, and returns those that were broken.
pub async fn failures<O, F>(open: O, runtime: &Runtime) -> Vec<Failure>
where
    O: Fn(Place) -> F + Sync,
    F: Future<Output = Arc<dyn EventStore>> + Send,
{
    let open = |place| Box::pin(open(place)) as BoxFuture<'_, _>;
    let mut failures = Vec::new();
    for (test, check) in tests() {
        let directory = tempfile::tempdir().expect("a directory for the log");
        let subject = Subject { open: &open, directory, runtime: runtime.clone() };
        if let Err(reason) = check(&subject).await {
            failures.push(Failure { test, reason });
        }
    }
    failures
}

/// All promises, by the names that [`Failure`] has them under.
pub fn promises() -> impl Iterator<Item = &'static str> {
    tests().map(|(name, _)| name)
}

fn tests() -> impl Iterator<Item = Test> {
    [appending::TESTS, reading::TESTS, idempotency::TESTS, durability::TESTS, snapshots::TESTS, housekeeping::TESTS]
        .into_iter()
        .flatten()
        .copied()
}

/// A log of its own for one promise.
struct Subject<'a> {
    open: Open<'a>,
    directory: TempDir,
    runtime: Runtime,
}

impl Subject<'_> {
    /// Opens the log; while another opening of it is still there, it is as after a crash of that one.
    async fn open(&self) -> Store {
        let place = Place { directory: self.directory.path().to_owned(), runtime: self.runtime.clone() };
        Store { store: (self.open)(place).await }
    }

    fn request(&self, stream: &str) -> Request {
        Request::new(&self.runtime, stream)
    }
}

/// The store, with errors as words.
struct Store {
    store: Arc<dyn EventStore>,
}

impl Store {
    async fn append(&self, batch: impl IntoIterator<Item = Request>) -> Result<Vec<Outcome>, String> {
        let batch: Vec<_> = batch.into_iter().map(Request::build).collect();
        let commands = batch.len();
        let outcomes = self.store.append(batch).await.map_err(|error| error.to_string())?;
        ensure!(outcomes.len() == commands, "{commands} commands have {} outcomes", outcomes.len());
        Ok(outcomes)
    }

    async fn append_one(&self, request: Request) -> Result<Outcome, String> {
        self.append([request]).await?.pop().ok_or_else(|| "no outcome".to_owned())
    }

    /// Appends what has no reason to be refused. Returns the stream's version after it.
    async fn accept(&self, request: Request) -> Result<StreamVersion, String> {
        match self.append_one(request).await? {
            Outcome::Committed { version: Some(version), .. } => Ok(version),
            other => Err(format!("not accepted: {other:?}")),
        }
    }

    async fn log(&self) -> Result<Vec<StoredEvent>, String> {
        let events = self.store.read(None, ReadLimit::default()).await.map_err(|error| error.to_string())?;
        Ok(events.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    async fn payloads(&self) -> Result<Vec<String>, String> {
        Ok(self.log().await?.iter().map(payload).collect())
    }

    async fn stream(&self, stream: StreamId) -> Result<Vec<StoredEvent>, String> {
        self.store.read_stream(stream, None, ReadLimit::default()).await.map_err(|error| error.to_string())
    }

    async fn head(&self) -> Result<Head, String> {
        self.store.head().await.map_err(|error| error.to_string())
    }

    async fn has_key(&self, key: Hash) -> Result<bool, String> {
        Ok(self.store.idempotency(key).await.map_err(|error| error.to_string())?.is_some())
    }
}

fn payload(event: &StoredEvent) -> String {
    String::from_utf8_lossy(&event.payload).into_owned()
}

fn committed(outcome: &Outcome) -> Option<Option<Position>> {
    match outcome {
        Outcome::Committed { first, .. } => Some(*first),
        _ => None,
    }
}

/// Ends a test with what was seen where `$condition` does not hold.
macro_rules! ensure {
    ($condition:expr, $($seen:tt)+) => {
        if !$condition {
            return Err(format!($($seen)+));
        }
    };
}

/// Declares the tests of a module: the names of its functions are the promises.
macro_rules! declare {
    ($($name:ident),+ $(,)?) => {
        pub(super) const TESTS: &[super::Test] = &[$({
            fn boxed<'a>(subject: &'a Subject<'_>) -> futures_util::future::BoxFuture<'a, Checked> {
                Box::pin($name(subject))
            }
            (stringify!($name), boxed)
        }),+];
    };
}

use {declare, ensure};
