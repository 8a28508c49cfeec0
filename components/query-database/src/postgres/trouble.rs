//! What goes wrong on a connection, and what that says of what was asked.

use runtime::Elapsed;
use tokio_postgres::{
    Error as PgError,
    error::{Severity, SqlState},
};

use crate::{Error, Source};

/// Why something asked of PostgreSQL was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing was sent: there is no connection.
    Unsent(Source),
    /// The connection, or whoever is behind it, is gone. What was sent last may have been done.
    Lost(Source),
    /// Nothing was heard for longer than anything may take. What was sent last may have been done, or may still be.
    Silent(Elapsed),
    /// The server says no: the transaction is undone.
    Refused(PgError),
    /// What is stored is nothing that was ever stored so.
    Damaged(Source),
    /// What is wrong is known without the server.
    Known(Error),
}

impl From<PgError> for Trouble {
    fn from(error: PgError) -> Self {
        let severity = error.as_db_error().map(|said| said.parsed_severity());
        match severity {
            // It says so on its way: it ends the connection, whatever for.
            None | Some(Some(Severity::Fatal | Severity::Panic)) => Self::Lost(error.into()),
            Some(_) => Self::Refused(error),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl Trouble {
    /// Of a connection that could not be made. A server that is full, or not up yet, may have room later; one that knows the
    /// user or the database not, or not with this right, will go on saying so.
    pub(super) fn of_connecting(error: PgError) -> Self {
        let may_pass = [
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
        ];
        match error.code() {
            None => Self::Unsent(error.into()),
            Some(code) if may_pass.contains(code) => Self::Unsent(error.into()),
            // Of the options that a connection is asked for, the role is the one that a server may not have.
            Some(&SqlState::INVALID_PARAMETER_VALUE) => Self::Known(Error::NotMigrated { database: String::new() }),
            Some(_) => Self::Refused(error),
        }
    }

    /// Whether a fresh connection may have the answer.
    pub(super) fn is_of_the_connection(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) => error.code(),
            _ => None,
        }
    }

    /// Of something that changes nothing.
    pub(super) fn reading(self, database: &str) -> Error {
        self.into_error(database, |database, source| Error::Read { database, source })
    }

    /// Of a change before its commit: nothing is stored.
    pub(super) fn writing(self, database: &str) -> Error {
        self.into_error(database, |database, source| Error::Write { database, source })
    }

    /// Of a change whose commit may have been on its way.
    pub(super) fn committing(self, database: &str) -> Error {
        match self {
            Self::Lost(source) => Error::Commit { database: database.to_owned(), source },
            Self::Silent(source) => Error::Commit { database: database.to_owned(), source: source.into() },
            known => known.writing(database),
        }
    }

    fn into_error(self, database: &str, otherwise: impl FnOnce(String, Source) -> Error) -> Error {
        let database = database.to_owned();
        match self {
            Self::Known(error) => error,
            Self::Damaged(source) => Error::Damaged { database, source },
            Self::Unsent(source) | Self::Lost(source) => otherwise(database, source),
            Self::Silent(source) => otherwise(database, source.into()),
            Self::Refused(source) => match source.code() {
                Some(&SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED) => {
                    Error::Damaged { database, source: source.into() }
                }
                Some(&SqlState::DISK_FULL) => Error::StorageFull { database },
                _ => otherwise(database, source.into()),
            },
        }
    }
}
