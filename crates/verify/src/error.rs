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
    #[error("cannot verify the log {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: command_database::Error,
    },
    /// The rows cannot be read at all.
    #[error("cannot verify the rows in {path}")]
    Rows {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: query_database::Error,
    },
}
