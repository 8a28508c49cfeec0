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
        self.into_error(path, |path, source| Error::Read { path, source })
    }

    pub(super) fn while_writing(self, path: &Path) -> Error {
        self.into_error(path, |path, source| Error::Write { path, source })
    }

    pub(super) fn while_committing(self, path: &Path) -> Error {
        self.into_error(path, |path, source| Error::Commit { path, source })
    }

    pub(super) fn while_opening(self, path: &Path) -> Error {
        self.into_error(path, |path, source| Error::Open { path, source })
    }

    fn into_error(self, path: &Path, other: fn(std::path::PathBuf, rusqlite::Error) -> Error) -> Error {
        let path = path.to_owned();
        match self {
            Self::Corrupt { position, found } => Error::Corrupt { path, position, found },
            Self::Engine(source) => match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Error::StorageFull { path },
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Error::Damaged { path, found: source.to_string() }
                }
                _ => other(path, source),
            },
        }
    }
}
