//! What a failure says about the batch or the read that it happened to.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{Severity, SqlState};

use crate::Error;

/// What can go wrong inside; whoever knows the phase makes an [`Error`] of it.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection was to be had: nothing was sent.
    Unconnected(Box<dyn std::error::Error + Send + Sync>),
    /// The server or the connection, in the middle of a statement.
    Server(tokio_postgres::Error),
    /// Committed, but nobody knows on how many servers.
    Unreplicated,
    /// No answer in all the time that the server has for one.
    Silent,
    Corrupt {
        position: u64,
        found: String,
    },
    /// Not done, for a reason that comes with it.
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// Known what it is, whatever was being done.
    Known(Error),
}

/// Makes an error of the log's name and a cause.
type Other = fn(String, Box<dyn std::error::Error + Send + Sync>) -> Error;

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Unconnected(error.into())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the server has not answered in time")]
struct NoAnswer;

#[derive(Debug, thiserror::Error)]
#[error("somebody has cancelled the wait for its replication")]
struct NotReplicated;

impl Failure {
    pub(super) fn corrupt(position: u64, found: impl Into<String>) -> Self {
        Self::Corrupt { position, found: found.into() }
    }

    /// Whether another connection may bring what this one did not.
    pub(super) fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Unconnected(_) | Self::Silent => true,
            Self::Server(error) => !is_refusal(error),
            _ => false,
        }
    }

    pub(super) fn while_reading(self, log: &str) -> Error {
        self.into_error(log, |log, source| Error::Read { log, source })
    }

    pub(super) fn while_writing(self, log: &str) -> Error {
        self.into_error(log, |log, source| Error::Write { log, source })
    }

    pub(super) fn while_migrating(self, log: &str) -> Error {
        self.known_or(log, |log, source| Error::Migrate { log, source })
    }

    pub(super) fn while_connecting(self, log: &str) -> Error {
        self.known_or(log, |log, source| Error::Connect { log, source })
    }

    /// After a batch was sent: undone if the server refuses it, unknown if the answer is missing.
    pub(super) fn while_committing(self, log: &str) -> Error {
        match &self {
            Self::Server(error) if is_refusal(error) => self.while_writing(log),
            Self::Server(_) | Self::Silent | Self::Unreplicated => {
                self.into_error(log, |log, source| Error::Commit { log, source })
            }
            _ => self.while_writing(log),
        }
    }

    /// Once a log is in use, what is wrong with its server is the cause of a read or an append that failed. Before that, it is
    /// the failure itself.
    fn known_or(self, log: &str, other: Other) -> Error {
        match self {
            Self::Known(error) => error,
            failure => failure.into_error(log, other),
        }
    }

    fn into_error(self, log: &str, other: Other) -> Error {
        let log = log.to_owned();
        match self {
            Self::Corrupt { position, found } => Error::Corrupt { log, position, found },
            Self::Known(error) => other(log, error.into()),
            Self::Unconnected(source) | Self::Refused(source) => other(log, source),
            Self::Silent => other(log, NoAnswer.into()),
            Self::Unreplicated => other(log, NotReplicated.into()),
            Self::Server(source) => match source.code() {
                Some(code) if *code == SqlState::DISK_FULL => Error::StorageFull { log },
                Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
                    Error::Damaged { log, found: source.to_string() }
                }
                _ => other(log, source.into()),
            },
        }
    }
}

/// Whether the server lives, has answered, and has undone the transaction. An error that ends the session may come after the
/// commit as well as before it.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|refusal| refusal.parsed_severity() == Some(Severity::Error))
}
