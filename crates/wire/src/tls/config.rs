use std::sync::Arc;

use rustls::{
    ClientConfig, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

/// Between processes of ours nothing older is spoken.
pub(super) const OURS: &[&SupportedProtocolVersion] = &[&TLS13];
/// Browsers, databases and proxies may know no more.
pub(super) const OTHERS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The one provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Sessions are not resumed: with each connection it is looked anew who is believed and which role is proven. Connections are
/// kept, so that handshakes are few.
pub(super) fn forget_sessions(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

/// As [`forget_sessions`].
pub(super) fn forget_own_sessions(config: &mut ClientConfig) {
    config.resumption = Resumption::disabled();
}
