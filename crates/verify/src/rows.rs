//! Where the rows are: a file or a server.

use std::path::Path;

use model::{ReadModel, RowKey};
use query_database::{
    Error, Generation, PostgresConfig, PostgresScan, RowScan, ScannedGeneration, ScannedRow, ScannedSlice,
};
use runtime::Runtime;
use tokio::runtime::Handle;

/// Rows of a server that are read together.
const SLICE_ROWS: usize = 10_000;

/// Rows and checkpoints, as they are verified.
#[derive(Debug)]
pub struct Rows {
    name: String,
    scan: Scan,
}

#[derive(Debug)]
enum Scan {
    File(RowScan),
    Server { scan: PostgresScan, threads: Handle },
}

impl Rows {
    /// Those in the file at `path`.
    ///
    /// # Errors
    /// As [`RowScan::open`].
    pub fn in_file(path: &Path) -> Result<Self, Error> {
        Ok(Self { name: path.display().to_string(), scan: Scan::File(RowScan::open(path)?) })
    }

    /// Those on the PostgreSQL at `url`, which errors and reports call `name`. `threads` carry the connection; the caller's
    /// own must not be one of them, since this and what follows block.
    ///
    /// # Errors
    /// As [`PostgresScan::open`].
    pub fn on_server(name: String, url: &str, config: &PostgresConfig, threads: &Handle) -> Result<Self, Error> {
        let scan = threads.block_on(async {
            let runtime = Runtime::tokio();
            PostgresScan::open(url, &runtime, config).await
        })?;
        Ok(Self { name, scan: Scan::Server { scan, threads: threads.clone() } })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn generations(&self) -> Result<Vec<ScannedGeneration>, Error> {
        match &self.scan {
            Scan::File(scan) => scan.generations(),
            Scan::Server { scan, threads } => threads.block_on(scan.generations()),
        }
    }

    /// Gives the rows after `after` that are read together to `each`; `None` where there is no checkpoint.
    pub(crate) fn slice(
        &self,
        generation: Generation,
        read_model: &ReadModel,
        after: Option<&RowKey>,
        each: impl FnMut(Result<ScannedRow<'_>, (RowKey, String)>),
    ) -> Result<Option<ScannedSlice>, Error> {
        match &self.scan {
            // One snapshot of all: a file has no others to keep from anything but its own space.
            Scan::File(scan) => {
                let checkpoint = scan.rows(generation, read_model, each)?;
                Ok(checkpoint.map(|checkpoint| ScannedSlice { checkpoint, last: None }))
            }
            Scan::Server { scan, threads } => {
                threads.block_on(scan.rows(generation, read_model, after, SLICE_ROWS, each))
            }
        }
    }
}
