use std::path::Path;

use rusqlite::ErrorCode;

use crate::Error;

/// What can go wrong inside; whoever knows the path and the phase makes an [`Error`] of it.
#[derive(Debug)]
pub(super) enum Failure {
    Engine(rusqlite::Error),
    Corrupt { position: u64, found: String },
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl Failure {
    pub(super) fn corrupt(position: u64, found: impl Into<String>) -> Self {
        Self::Corrupt { position, found: found.into() }
    }

    /// The system failed to write or sync: what the file holds is no longer known (and a second sync would lie).
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self, Self::Engine(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure))
    }

    pub(super) fn while_reading(self, path: &Path) -> Error {
        self.into_error(path, |log, source| Error::Read { log, source })
    }

    pub(super) fn while_writing(self, path: &Path) -> Error {
        self.into_error(path, |log, source| Error::Write { log, source })
    }

    pub(super) fn while_committing(self, path: &Path) -> Error {
        self.into_error(path, |log, source| Error::Commit { log, source })
    }

    pub(super) fn while_opening(self, path: &Path) -> Error {
        self.into_error(path, |log, source| Error::Open { log, source })
    }

    fn into_error(self, path: &Path, other: fn(String, Box<dyn std::error::Error + Send + Sync>) -> Error) -> Error {
        let log = name(path);
        match self {
            Self::Corrupt { position, found } => Error::Corrupt { log, position, found },
            Self::Engine(source) => match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Error::StorageFull { log },
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Error::Damaged { log, found: source.to_string() }
                }
                _ => other(log, source.into()),
            },
        }
    }
}

/// What errors call the log at `path`.
pub(super) fn name(path: &Path) -> String {
    path.display().to_string()
}
