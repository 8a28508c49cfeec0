use std::path::PathBuf;

/// Why rows could not be read or written. A failed write wrote nothing, except that [`Error::Commit`] leaves it unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The commit failed or its answer was lost: read the checkpoint again.
    #[error("cannot commit to {path}")]
    Commit {
        /// The database.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// The disk is full.
    #[error("no space left for {path}: free some, the read models then go on by themselves")]
    StorageFull {
        /// The database.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("cannot read {path}")]
    Read {
        /// The database.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// A row is not what was written.
    #[error("row {key:?} of read model {read_model} is damaged: run `verify`, then rebuild the read model")]
    Corrupt {
        /// The read model.
        read_model: String,
        /// The row.
        key: String,
    },
    /// There is no such read model, or it serves nothing yet.
    #[error("read model {read_model:?} serves nothing yet")]
    NotServing {
        /// The read model.
        read_model: String,
    },
    /// The worker that owns the database is gone.
    #[error("the query database's worker has ended: restart the process")]
    WorkerGone,
}

impl Error {
    /// Whether the same call may succeed later without anybody's intervention.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::StorageFull { .. } | Self::Commit { .. } | Self::NotServing { .. })
    }
}
