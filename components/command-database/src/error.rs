use std::path::PathBuf;

/// Why the store refused or failed. Nothing was written, except that [`Error::Commit`] leaves it unknown until recovery.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The commit failed or its answer was lost: whether it is durable is known after recovery.
    #[error("cannot commit to {path}: what was in the batch is unknown until the log is opened again")]
    Commit {
        /// The log.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// The disk is full: commands are refused until there is space.
    #[error("no space left for {path}: free some, commands are then accepted again")]
    StorageFull {
        /// The log.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("cannot read {path}")]
    Read {
        /// The log.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// What was read is not what was written.
    #[error("the log {path} is damaged at position {position}: {found}; run `verify`, then restore a backup")]
    Corrupt {
        /// The log.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What is wrong.
        found: String,
    },
    /// The worker that owns the log is gone.
    #[error("the log's worker has ended: restart the process")]
    WorkerGone,
}

impl Error {
    /// Whether the same call may succeed later without anybody's intervention.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::StorageFull { .. })
    }
}
