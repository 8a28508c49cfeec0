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
    /// Something failed before the commit; it was undone.
    #[error("cannot write to {path}: nothing of it was kept")]
    Write {
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
    /// What was read outside the events is not what was written.
    #[error("the log {path} is damaged: {found}; run `verify`, then restore a backup")]
    Damaged {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// The file is something else than a log. It was not touched.
    #[error("{path} is not a log of Diptych: {found}; it was left as it is, name another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// A newer binary has written the log. It was not touched.
    #[error("log {path} has format {found}, this binary reads up to {format_max}: start the newer binary")]
    FormatTooNew {
        /// The log.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known here.
        format_max: u32,
    },
    /// The log can be neither opened nor made.
    #[error("cannot open {path}: see that the directory exists, may be written to, and is on a local disk")]
    Open {
        /// The log.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// The file cannot be reached at all.
    #[error("cannot open {path}: see that the directory exists and may be written to")]
    File {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The linked SQLite is known to damage logs.
    #[error("SQLite {found} can damage a log, 3.51.3 is the first that does not: build against a newer one")]
    EngineTooOld {
        /// Its version.
        found: String,
    },
    /// More than one append may hold.
    #[error("the batch has {events} events of {bytes} bytes, limits are {events_max} and {bytes_max}: split it")]
    BatchTooLarge {
        /// Events in it.
        events: usize,
        /// Their payloads together.
        bytes: usize,
        /// Most events.
        events_max: usize,
        /// Most bytes of payload.
        bytes_max: usize,
    },
    /// Too much waits for a commit already.
    #[error("{commands} commands wait for a commit, the limit is {commands_max}: send again later")]
    Overloaded {
        /// How many wait.
        commands: usize,
        /// How many may.
        commands_max: usize,
    },
    /// The worker that owns the log is gone.
    #[error("the log's worker has ended: restart the process")]
    WorkerGone,
}

impl Error {
    /// Whether the same call may succeed later without anybody's intervention.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Write { .. } | Self::StorageFull { .. } | Self::Overloaded { .. })
    }
}
