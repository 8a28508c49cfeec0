use std::{io, net::SocketAddr, path::PathBuf};

/// Why calls cannot be taken or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Others could listen to plain text, and nobody proves who they are.
    #[error(
        "{address} could be reached by other machines, and calls between processes are plain text: set up TLS between processes (the settings `tls.…`), or name a loopback address"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A file of certificates or of a key is not what it has to be.
    #[error("{setting}: {} {reason}", .path.display())]
    Pem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address is taken, or cannot be had.
    #[error("cannot take calls on {address}: see that nobody else listens there")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An address that is none.
    #[error("{address:?} is no address of an instance: write HOST:PORT")]
    Address {
        /// What was written.
        address: String,
    },
    /// No instance was named.
    #[error("no instance is named: write at least one HOST:PORT")]
    NoInstance,
    /// What came is not a frame of ours.
    #[error("what came is no frame: {found}")]
    Frame {
        /// What is wrong with it.
        found: String,
    },
}
