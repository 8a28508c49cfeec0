use std::{io, net::SocketAddr};

/// Why the load balancer could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Others could reach the address, and nothing would ask them who they are.
    #[error(
        "refused to listen on {address}: other machines could reach it, and there is no TLS; \
         listen on a loopback address such as 127.0.0.1:8080 or [::1]:8080, under TLS, or for named proxies only"
    )]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Another process, or another listener of this one, has the address.
    #[error("cannot listen on {address}, it is in use: stop what listens there, or choose another port")]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The name for `Via` is not a token of RFC 9110.
    #[error("`{pseudonym}` cannot sign a Via header: set `load_balancer.pseudonym` to letters, digits and hyphens")]
    Pseudonym {
        /// The name asked for.
        pseudonym: String,
    },
}
