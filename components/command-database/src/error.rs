use std::path::PathBuf;

/// What an engine, a driver or the system said.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the store refused or failed. Nothing was written, except that [`Error::Commit`] leaves it unknown until recovery.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The commit failed or its answer was lost: whether it is durable is known after recovery.
    #[error("cannot commit to {log}: what was in the batch is unknown until the log is opened again")]
    Commit {
        /// The log.
        log: String,
        /// What the engine said.
        source: Cause,
    },
    /// Something failed before the commit; it was undone.
    #[error("cannot write to {log}: nothing of it was kept")]
    Write {
        /// The log.
        log: String,
        /// What the engine said.
        source: Cause,
    },
    /// The disk is full: commands are refused until there is space.
    #[error("no space left for {log}: free some, commands are then accepted again")]
    StorageFull {
        /// The log.
        log: String,
    },
    /// Reading failed.
    #[error("cannot read {log}")]
    Read {
        /// The log.
        log: String,
        /// What the engine said.
        source: Cause,
    },
    /// What was read is not what was written.
    #[error("the log {log} is damaged at position {position}: {found}; run `verify`, then restore a backup")]
    Corrupt {
        /// The log.
        log: String,
        /// Where.
        position: u64,
        /// What is wrong.
        found: String,
    },
    /// What was read outside the events is not what was written.
    #[error("the log {log} is damaged: {found}; run `verify`, then restore a backup")]
    Damaged {
        /// The log.
        log: String,
        /// What is wrong.
        found: String,
    },
    /// The file, or the database, is something else than a log. It was not touched.
    #[error("{log} is not a log of Diptych: {found}; it was left as it is, name another one")]
    Foreign {
        /// The file or database.
        log: String,
        /// What it looks like.
        found: String,
    },
    /// A newer binary has written the log. It was not touched.
    #[error("log {log} has format {found}, this binary reads up to {format_max}: start the newer binary")]
    FormatTooNew {
        /// The log.
        log: String,
        /// Its format.
        found: u32,
        /// The newest known here.
        format_max: u32,
    },
    /// The log can be neither opened nor made.
    #[error("cannot open {log}: see that the directory exists, may be written to, and is on a local disk")]
    Open {
        /// The log.
        log: String,
        /// What the engine said.
        source: Cause,
    },
    /// The file cannot be reached at all.
    #[error("cannot open {log}: see that the directory exists and may be written to")]
    File {
        /// The log.
        log: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server cannot be reached, or lets nobody in.
    #[error(
        "cannot connect to {log}: see that the server runs, that the database exists, and that the user may use it"
    )]
    Connect {
        /// The log.
        log: String,
        /// What the driver said.
        source: Cause,
    },
    /// The configured address of a database cannot be used. It is not repeated here: it may hold a password.
    #[error("the log's address cannot be used: {problem}")]
    Address {
        /// What is wrong, and what to write.
        problem: String,
    },
    /// The server could lose what it has acknowledged.
    #[error(
        "the server of {log} has {setting}={found}, with which a crash loses what was acknowledged: set {setting}={wanted}"
    )]
    UnsafeSetting {
        /// The log.
        log: String,
        /// The server's setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        wanted: &'static str,
    },
    /// There is no log in the database yet, or one that this binary cannot use before it is migrated.
    #[error("the database {log} has {found}: migrate it first, as a user of the role `{migrator}`")]
    NotMigrated {
        /// The log.
        log: String,
        /// What it has.
        found: String,
        /// The role that may migrate.
        migrator: String,
    },
    /// A migration failed. Nothing of it was kept.
    #[error("cannot migrate {log}: nothing of it was kept")]
    Migrate {
        /// The log.
        log: String,
        /// What the server said.
        source: Cause,
    },
    /// A copy that is written into the log is not whole yet.
    #[error(
        "{log} is being written by `move` or `restore`, and is not whole: run the same command again, which goes on where it \
         was, or empty the database"
    )]
    Unfinished {
        /// The log.
        log: String,
    },
    /// A copy needs an empty log.
    #[error("{log} is not empty, {found}: name another one")]
    NotEmpty {
        /// The log.
        log: String,
        /// What it has.
        found: String,
    },
    /// What was read back is not what was copied.
    #[error("{log} is not what was copied into it: {found}; empty it and copy again")]
    NotACopy {
        /// The log.
        log: String,
        /// What is different.
        found: String,
    },
    /// A file is no backup, or not a whole one.
    #[error("the backup {path} cannot be used: {found}")]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
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
        matches!(
            self,
            Self::Read { .. }
                | Self::Write { .. }
                | Self::Connect { .. }
                | Self::StorageFull { .. }
                | Self::Overloaded { .. }
        )
    }
}
