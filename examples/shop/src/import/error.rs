use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use crate::feed;

/// Why an import stopped. What was answered before that is done, and running it again goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The feed cannot be read.
    #[error(transparent)]
    Feed(#[from] feed::Error),
    /// The settings, which say where the shop is, cannot be read.
    #[error(transparent)]
    Settings(#[from] diptych::Error),
    /// No address of a front door.
    #[error("{url:?} is no address of a shop: write http://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody answers.
    #[error(
        "cannot reach {url}, after trying for {waited:.0?}: start a shop there with `shop dev`, or name another with --url, \
         then run the import again: it goes on where it stopped"
    )]
    Unreachable {
        /// The front door.
        url: String,
        /// Since the first attempt of the command that was given up.
        waited: Duration,
        /// What the last attempt met.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A read model has not caught up.
    #[error("all is sent, but {read_model} does not answer for it: {found}")]
    Behind {
        /// Which.
        read_model: &'static str,
        /// What it answered.
        found: String,
    },
    /// The file of refused lines cannot be written.
    #[error("cannot write the refused lines to {path}: name another file with --refused")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process could not be set up.
    #[error("cannot start the import")]
    Start {
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The process's answer.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Error::Url { .. } | Error::Settings(_) => 2,
            Error::Unreachable { .. } => 4,
            _ => 1,
        })
    }
}
