use std::{io, path::PathBuf};

use super::COLUMNS;

/// Why a feed could not be read or written. A bad line is no error: it has a [`Reason`](super::Reason).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened.
    #[error("cannot open the feed {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading stopped in the middle, for example in a truncated gzip file.
    #[error("cannot read the feed {path} after line {line}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The last line that was read whole, 0 if none.
        line: u64,
        /// What the system or the decoder said.
        source: io::Error,
    },
    /// The first line is not the header of such a feed.
    #[error("{path} is not such a feed: line 1 is {found:?}, expected {expected:?}", expected = COLUMNS.join(","))]
    Header {
        /// The file.
        path: PathBuf,
        /// The beginning of the first line.
        found: String,
    },
    /// The made-up feed could not be written.
    #[error("cannot write the feed to {to}")]
    Write {
        /// A path, or standard output.
        to: String,
        /// What the system said.
        source: io::Error,
    },
}
