//! What every [`CommandService`] must do.
//!
//! ```no_run
//! # use testkit::conformance::command_service::{Setup, Subject, failures};
//! # async fn start(setup: Setup) -> Subject { todo!() }
//! # async fn example() {
//! let failures = failures(async |setup| start(setup).await, &runtime::Runtime::tokio()).await;
//! assert_eq!(failures, []);
//! # }
//! ```

pub mod broken;
mod durability;
mod idempotency;
mod order;
mod preconditions;
mod refusing;
mod request;

use std::sync::Arc;

use command_database::EventStore;
use command_service::{CommandOutcome, CommandService};
use futures_util::future::{BoxFuture, JoinAll, join_all};
use runtime::Runtime;

pub use self::request::Request;

/// What a test asks of the service it gets.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it is to run.
    pub runtime: Runtime,
    /// Most commands that may be under way; those beyond are to be refused as overload.
    pub commands_under_way_max: usize,
    /// Most events that a command may lead to.
    pub command_events_max: usize,
}

/// A fresh service over an empty log, with the domain of [`crate::domain`].
pub struct Subject {
    /// What is tested.
    pub service: Arc<dyn CommandService>,
    /// The log it writes to, to see what came of it.
    pub log: Arc<dyn EventStore>,
    /// Where it runs.
    pub runtime: Runtime,
    /// What must live as long as the service does, such as its directory.
    pub keep: Box<dyn Send + Sync>,
}

/// A test that failed, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The promise that was broken, as a sentence.
    pub test: &'static str,
    /// What was seen.
    pub reason: String,
}

type Checked = Result<(), String>;
type Test = (&'static str, for<'a> fn(&'a Subject) -> BoxFuture<'a, Checked>);

/// Runs every test, each on a service of its own, and returns those that failed.
pub async fn failures(start: impl AsyncFn(Setup) -> Subject, runtime: &Runtime) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (test, check) in tests() {
        let setup = Setup { runtime: runtime.clone(), commands_under_way_max: LIMIT, command_events_max: LIMIT };
        let subject = start(setup).await;
        if let Err(reason) = check(&subject).await {
            failures.push(Failure { test, reason });
        }
    }
    failures
}

/// The names of all tests.
#[must_use]
pub fn promises() -> Vec<&'static str> {
    tests().map(|(test, _)| test).collect()
}

/// Of everything: small enough to be exceeded in a test.
const LIMIT: usize = 64;

fn tests() -> impl Iterator<Item = Test> {
    [durability::TESTS, order::TESTS, idempotency::TESTS, preconditions::TESTS, refusing::TESTS]
        .into_iter()
        .flatten()
        .copied()
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
macro_rules! promise_all {
    ($($name:ident),+ $(,)?) => {
        pub(super) const TESTS: &[super::Test] = &[$({
            fn boxed(subject: &Subject) -> futures_util::future::BoxFuture<'_, Checked> {
                Box::pin($name(subject))
            }
            (stringify!($name), boxed)
        }),+];
    };
}

use {ensure, promise_all};

impl Subject {
    async fn execute(&self, request: Request) -> CommandOutcome {
        self.service.execute(request.build()).await
    }

    /// Executes all of them at the same time, sent in this order.
    fn execute_all(&self, requests: impl IntoIterator<Item = Request>) -> JoinAll<BoxFuture<'static, CommandOutcome>> {
        join_all(requests.into_iter().map(|request| self.service.execute(request.build())).collect::<Vec<_>>())
    }

    /// The whole log.
    async fn events(&self) -> Result<Vec<model::StoredEvent>, String> {
        let limit = command_database::ReadLimit { events_max: 10_000, bytes_max: usize::MAX };
        let events = self.log.read(None, limit).await.map_err(|error| error.to_string())?;
        Ok(events.into_iter().map(Arc::unwrap_or_clone).collect())
    }
}
