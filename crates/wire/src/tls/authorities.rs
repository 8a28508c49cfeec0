use std::sync::Arc;

use runtime::{Runtime, Shutdown};
use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    config,
    peer::{Expects, ServerProof},
    pem::PemFile,
    reloaded::Reloaded,
};
use crate::Error;

/// Whose certificates are believed. Read again when the file changes; clones are the same.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub(super) reloaded: Arc<Reloaded<Believed>>,
}

/// What certificates are compared with.
pub(super) struct Believed {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) servers: Arc<WebPkiServerVerifier>,
    pub(super) clients: Arc<dyn ClientCertVerifier>,
}

impl Authorities {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Pem`].
    pub fn read(file: PemFile) -> Result<Self, Error> {
        Ok(Self { reloaded: Reloaded::new(vec![file], |files| believed(&files[0]))? })
    }

    /// Reads the file again when it changes, until `shutdown`.
    pub fn follow(&self, runtime: &Runtime, shutdown: Shutdown) {
        self.reloaded.follow(runtime, shutdown);
    }

    /// For connections to servers of others, such as databases, which prove the name or address that they are called by.
    ///
    /// # Panics
    /// Never: the provider has the versions that are asked for.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let proof = ServerProof { authorities: self.clone(), expects: Expects::ItsName };
        let mut config = ClientConfig::builder_with_provider(config::provider())
            .with_protocol_versions(config::OTHERS)
            .expect("the provider has these versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(proof))
            .with_no_client_auth();
        config::forget_own_sessions(&mut config);
        config
    }
}

fn believed(file: &PemFile) -> Result<Believed, Error> {
    let roots = file.roots()?;
    let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), config::provider()).build();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), config::provider()).build();
    let unusable = |error| file.error(format!("cannot be used: {error}"));
    Ok(Believed { roots, servers: servers.map_err(unusable)?, clients: clients.map_err(unusable)? })
}
