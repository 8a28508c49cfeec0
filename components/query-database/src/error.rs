use std::{path::PathBuf, time::Duration};

use crate::Generation;

/// What an engine, a driver or the system said.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why rows could not be read or written. A failed write wrote nothing, except that [`Error::Commit`] leaves it unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is none of a query database. It was not touched.
    #[error("{path} is no query database: give another path, or move the file away")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer binary wrote the file. It was not touched.
    #[error(
        "query database {path} has format {found}, this binary reads format {known}: start the newer binary, or remove \
         the file to have the read models built anew"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: u32,
        /// What this binary reads and writes.
        known: u32,
    },
    /// The linked SQLite may damage databases in WAL mode.
    #[error("SQLite {found} is linked, 3.51.3 is the least that does not damage a WAL: build with the bundled one")]
    Engine {
        /// The linked one.
        found: &'static str,
    },
    /// The database cannot be opened or made.
    #[error("cannot open query database {database}")]
    Open {
        /// Its file or address.
        database: String,
        /// What the engine said.
        source: Source,
    },
    /// The server does not answer, or has no room: it may later.
    #[error("query database {database} cannot be reached")]
    Unreachable {
        /// Its address.
        database: String,
        /// What the driver said.
        source: Source,
    },
    /// The server has a database of somebody else's there. It was not touched.
    #[error("{database} has {found} and is no query database: name an empty database")]
    ForeignDatabase {
        /// Its address.
        database: String,
        /// What does not belong to a query database.
        found: String,
    },
    /// The database was made by a newer binary, for newer ones only. It was not touched.
    #[error(
        "query database {database} has format {found}, for binaries that know format {least} or a later one; this one knows \
         {known}: start the newer binary, or name an empty database to have the read models built anew"
    )]
    DatabaseFormat {
        /// Its address.
        database: String,
        /// What it says of itself.
        found: i32,
        /// The oldest format whose binaries may use it.
        least: i32,
        /// What this binary knows.
        known: i32,
    },
    /// The database lacks what a migration makes.
    #[error("query database {database} is not made yet, or of an older format: run the migration first")]
    NotMigrated {
        /// Its address.
        database: String,
    },
    /// What was configured cannot be used.
    #[error("{setting} cannot be used: {reason}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What to change.
        reason: String,
    },
    /// The file cannot be read or made.
    #[error("cannot open query database {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The structure of its files is broken.
    #[error(
        "query database {database} is damaged: stop the process and remove it, the read models are then built anew"
    )]
    Damaged {
        /// Its file or address.
        database: String,
        /// What the engine said.
        source: Source,
    },
    /// The declaration cannot become a table.
    #[error("read model {read_model:?} cannot be stored: {reason}")]
    ReadModel {
        /// Its name.
        read_model: String,
        /// What to change.
        reason: String,
    },
    /// A list that its generation's indexes cannot answer.
    #[error("a list of generation {generation} cannot be read: {reason}")]
    List {
        /// The generation it was checked against.
        generation: Generation,
        /// What does not fit.
        reason: &'static str,
    },
    /// A list took too long and was ended.
    #[error(
        "a list of {read_model:?} took more than {limit:?}: filter by fewer rows, or raise `query_database.list_duration_max`"
    )]
    TimeLimit {
        /// The read model.
        read_model: String,
        /// How long it may take.
        limit: Duration,
    },
    /// There is no such generation.
    #[error("there is no generation {generation}: take one first")]
    NoGeneration {
        /// Which was named.
        generation: Generation,
    },
    /// Writing failed, and nothing was written.
    #[error("cannot write to {database}")]
    Write {
        /// Its file or address.
        database: String,
        /// What the engine said.
        source: Source,
    },
    /// The commit failed or its answer was lost: read the checkpoint again.
    #[error("cannot commit to {database}")]
    Commit {
        /// Its file or address.
        database: String,
        /// What the engine said.
        source: Source,
    },
    /// The disk is full.
    #[error("no space left for {database}: free some, the read models then go on by themselves")]
    StorageFull {
        /// Its file or address.
        database: String,
    },
    /// Reading failed.
    #[error("cannot read {database}")]
    Read {
        /// Its file or address.
        database: String,
        /// What the engine said.
        source: Source,
    },
    /// A row is not what was written.
    #[error(
        "row {key:?} of read model {read_model} is damaged: run `verify`; to have all rows made anew from the log, stop the \
         process, remove this database (a file goes with those beside it with -wal and -shm), and start it again"
    )]
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
        matches!(
            self,
            Self::Read { .. }
                | Self::Write { .. }
                | Self::StorageFull { .. }
                | Self::Commit { .. }
                | Self::Unreachable { .. }
                | Self::NotServing { .. }
        )
    }
}
