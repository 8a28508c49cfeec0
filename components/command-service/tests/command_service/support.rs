//! A service over a log in a directory of its own.

use std::sync::Arc;

use command_database::{EventStore, GroupCommit, GroupLimits, SqliteConfig, SqliteEventStore};
use command_service::{Config, Executor, Metrics};
use runtime::Runtime;
use tempfile::TempDir;

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
