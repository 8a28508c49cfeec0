//! Query Database, embedded: a SQLite file of rows and checkpoints.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use query_database::{SqliteConfig, SqliteQueryDatabase};
use runtime::Runtime;

use crate::{DataDirectory, Error};

pub(crate) fn start(
    directory: &DataDirectory,
    runtime: &Runtime,
    metrics: &mut Registry,
) -> Result<Arc<SqliteQueryDatabase>, Error> {
    let path = DataDirectory::rows(directory.path());
    let database = SqliteQueryDatabase::open(&path, runtime, &SqliteConfig::default())?;
    database.register_metrics(metrics);
    Ok(Arc::new(database))
}
