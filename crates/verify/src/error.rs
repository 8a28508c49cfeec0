use std::path::PathBuf;

/// Why nothing could be verified. What is wrong inside a file that can be read is a [`Violation`](crate::Violation).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file.
    #[error("there is no {what} at {path}: name the data directory of a system that has run")]
    Missing {
        /// Which of the two files.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The log cannot be read at all.
    #[error("cannot verify the log {log}")]
    Log {
        /// The file or database.
        log: String,
        /// Why not.
        source: command_database::Error,
    },
    /// The rows cannot be read at all.
    #[error("cannot verify the rows in {rows}")]
    Rows {
        /// The file or database.
        rows: String,
        /// Why not.
        source: query_database::Error,
    },
}

impl Error {
    /// Whether a server does not answer: nothing is known of what it has.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Log { source, .. } => matches!(source, command_database::Error::Connect { .. }),
            Self::Rows { source, .. } => matches!(source, query_database::Error::Unreachable { .. }),
            Self::Missing { .. } => false,
        }
    }
}
