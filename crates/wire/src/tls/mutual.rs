use std::sync::Arc;

use runtime::{Runtime, Shutdown};
use rustls::{ClientConfig, ServerConfig};

use super::{
    authorities::Authorities,
    client::ClientTls,
    config,
    identity::Identity,
    peer::{ClientProof, Expects, ServerProof},
    pem::PemFile,
    server::ServerTls,
};
use crate::Error;

/// TLS between processes of one application, in which both ends prove which role they have: a certificate bears
/// `diptych://<application>/<role>` for each role that its process runs. Clones are the same.
#[derive(Clone, Debug)]
pub struct MutualTls {
    application: Arc<str>,
    identity: Identity,
    authorities: Authorities,
}

impl MutualTls {
    /// Reads this process's certificate and key, and the certificates of those who sign for the application's processes.
    ///
    /// # Errors
    /// [`Error::Pem`].
    pub fn read(application: &str, certificate: PemFile, key: PemFile, authorities: PemFile) -> Result<Self, Error> {
        let identity = Identity::read(certificate, key)?;
        Ok(Self { application: application.into(), identity, authorities: Authorities::read(authorities)? })
    }

    /// Reads the files again when they change, until `shutdown`.
    pub fn follow(&self, runtime: &Runtime, shutdown: Shutdown) {
        self.identity.follow(runtime, shutdown.clone());
        self.authorities.follow(runtime, shutdown);
    }

    /// Refuses a certificate with which no other process would take this one for a `role`.
    ///
    /// # Errors
    /// [`Error::Pem`].
    pub fn proves(&self, role: &str) -> Result<(), Error> {
        self.identity.bears(&self.name(role))
    }

    fn name(&self, role: &str) -> String {
        format!("diptych://{}/{role}", self.application)
    }

    /// For taking calls of these roles, and of no others.
    ///
    /// # Panics
    /// Never: the provider has the version that is asked for.
    #[must_use]
    pub fn server(&self, callers: &[&str]) -> ServerTls {
        let names = callers.iter().map(|role| self.name(role)).collect();
        let proof = ClientProof { authorities: self.authorities.clone(), names };
        let mut config = ServerConfig::builder_with_provider(config::provider())
            .with_protocol_versions(config::OURS)
            .expect("the provider has this version")
            .with_client_cert_verifier(Arc::new(proof))
            .with_cert_resolver(Arc::new(self.identity.clone()));
        config::forget_sessions(&mut config);
        ServerTls::new(config)
    }

    /// For calling instances of this role.
    ///
    /// # Panics
    /// Never: the provider has the version that is asked for.
    #[must_use]
    pub fn client(&self, called: &str) -> ClientTls {
        let proof = ServerProof { authorities: self.authorities.clone(), expects: Expects::Role(self.name(called)) };
        let mut config = ClientConfig::builder_with_provider(config::provider())
            .with_protocol_versions(config::OURS)
            .expect("the provider has this version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(proof))
            .with_client_cert_resolver(Arc::new(self.identity.clone()));
        config::forget_own_sessions(&mut config);
        ClientTls::new(config)
    }
}
