use std::{io, path::PathBuf};

/// Why a server could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not have the program.
    #[error("{program} is not installed: `apt-get install {package}` (as root) brings it on Debian")]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// Debian's package of it.
        package: &'static str,
    },
    /// PostgreSQL does not run as root, and there is nobody else to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and this system has no user `postgres`: install Debian's package, or be another user"
    )]
    NobodyToRunAs,
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// Which.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which.
        program: PathBuf,
        /// Its last words.
        said: String,
    },
    /// A folder or file could not be made.
    #[error("cannot make {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate could not be signed.
    #[error("cannot sign a certificate: {said}")]
    Unsigned {
        /// Why.
        said: String,
    },
    /// A server did not come up.
    #[error("{program} did not answer on port {port} within {seconds} s; it said: {said}")]
    NotReady {
        /// Which.
        program: PathBuf,
        /// Where it should have answered.
        port: u16,
        /// For how long it was waited.
        seconds: u64,
        /// The end of its log.
        said: String,
    },
}
