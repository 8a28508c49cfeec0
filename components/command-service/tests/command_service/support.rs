//! A service over a log in a directory of its own.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use command_database::{EventStore, GroupCommit, GroupLimits, SqliteConfig, SqliteEventStore};
use command_service::{CommandOutcome, Config, Executor, Metrics};
use runtime::Runtime;
use tempfile::TempDir;

use crate::faulty::Faulty;

pub(crate) struct Service {
    pub(crate) executor: Executor,
    pub(crate) log: Arc<dyn EventStore>,
    pub(crate) group: GroupCommit,
    pub(crate) directory: TempDir,
}

pub(crate) fn log(runtime: &Runtime, directory: &TempDir) -> Arc<dyn EventStore> {
    let path = directory.path().join("log.sqlite");
    Arc::new(SqliteEventStore::open(&path, runtime, SqliteConfig::default()).expect("a fresh directory"))
}

pub(crate) fn over(runtime: &Runtime, log: Arc<dyn EventStore>, config: Config) -> (Executor, GroupCommit) {
    let group =
        GroupCommit::start(runtime, Arc::clone(&log), GroupLimits::default(), command_database::Metrics::default());
    let registry = testkit::domain::registry();
    (Executor::start(runtime.clone(), &registry, log, group.clone(), config, &Metrics::new()), group)
}

pub(crate) fn service(runtime: &Runtime, config: Config) -> Service {
    let directory = TempDir::new().expect("a temporary directory");
    let log = log(runtime, &directory);
    let (executor, group) = over(runtime, Arc::clone(&log), config);
    Service { executor, log, group, directory }
}

/// A service over a log that can be harmed.
pub(crate) struct Harmed {
    pub(crate) runtime: Runtime,
    pub(crate) executor: Executor,
    pub(crate) log: Arc<Faulty>,
    /// The log itself.
    pub(crate) plain: Arc<dyn EventStore>,
    directory: TempDir,
}

pub(crate) fn harmed(config: Config) -> Harmed {
    let (runtime, directory) = (Runtime::tokio(), TempDir::new().expect("a temporary directory"));
    let plain = log(&runtime, &directory);
    harmed_over(runtime, directory, plain, config)
}

/// Another life of the service over the same log.
pub(crate) fn again(service: Harmed, config: Config) -> Harmed {
    harmed_over(service.runtime, service.directory, service.plain, config)
}

impl Harmed {
    /// Returns once so many snapshots are saved.
    pub(crate) async fn saved(&self, count: usize) {
        while self.log.snapshots.lock().expect("no panic").len() < count || self.log.saving.load(Ordering::SeqCst) > 0 {
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
    }
}

fn harmed_over(runtime: Runtime, directory: TempDir, plain: Arc<dyn EventStore>, config: Config) -> Harmed {
    let log = Faulty::new(Arc::clone(&plain));
    let (executor, _) = over(&runtime, Arc::clone(&log) as Arc<dyn EventStore>, config);
    Harmed { runtime, executor, log, plain, directory }
}

pub(crate) fn is_accepted(outcome: &CommandOutcome) -> bool {
    matches!(outcome, CommandOutcome::Accepted { .. })
}
