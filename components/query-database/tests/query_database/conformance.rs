//! The suite that every implementation passes.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use model::RowKey;
use query_database::{Generation, SqliteQueryDatabase};
use testkit::conformance::query_database::{Database, Subject};

use crate::support::{flip_a_byte, open};

struct Embedded {
    directory: tempfile::TempDir,
}

impl Embedded {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join(SqliteQueryDatabase::FILE_NAME)
    }
}

impl Subject for Embedded {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Database>> {
        let database: Arc<dyn Database> = Arc::new(open(&self.path()));
        Box::pin(async move { database })
    }

    fn damage<'a>(&'a self, generation: Generation, key: &'a RowKey) -> BoxFuture<'a, ()> {
        flip_a_byte(&self.path(), "things", generation, key);
        Box::pin(async {})
    }
}

testkit::query_database_promises!(Embedded::new());
