//! TLS: what a process proves itself with, whom it believes, and which role it speaks to.
//!
//! Every configuration is made once and looks into its files' [`Reloaded`] contents with each handshake, so that new files hold
//! for all connections made after them.

mod authorities; // whose certificates are believed
mod client; // the calling end
mod config; // what every configuration has in common, the provider first
mod handshake; // what is said of one that failed
mod identity; // a certificate and its key
mod mutual; // both ends prove who they are
mod peer; // which certificates bear the role that is wanted
mod pem; // reading files
mod reloaded; // made anew when files change
mod server; // the called end

pub(crate) use self::handshake::is_turned_away;
pub use self::{
    authorities::Authorities, client::ClientTls, handshake::handshake_failure, identity::Identity, mutual::MutualTls,
    pem::PemFile, server::ServerTls,
};
