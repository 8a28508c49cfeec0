use std::sync::Arc;

use runtime::{Runtime, Shutdown};
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    peer,
    pem::{self, PemFile},
    reloaded::Reloaded,
};
use crate::Error;

/// A certificate and its key: what a process proves itself with. Read again when the files change; clones are the same.
#[derive(Clone, Debug)]
pub struct Identity {
    reloaded: Arc<Reloaded<Arc<CertifiedKey>>>,
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// [`Error::Pem`].
    pub fn read(certificate: PemFile, key: PemFile) -> Result<Self, Error> {
        let reloaded = Reloaded::new(vec![certificate, key], |files| pem::certified_key(&files[0], &files[1]))?;
        Ok(Self { reloaded })
    }

    /// Reads the files again when they change, until `shutdown`.
    pub fn follow(&self, runtime: &Runtime, shutdown: Shutdown) {
        self.reloaded.follow(runtime, shutdown);
    }

    /// Refuses a certificate that does not bear `name`, as every other process would.
    pub(super) fn bears(&self, name: &str) -> Result<(), Error> {
        let current = self.reloaded.current();
        let wrong = |found: String| {
            let wanted = format!("it has to bear subjectAltName=URI:{name}");
            self.reloaded.files()[0].error(format!("{found}: {wanted}"))
        };
        let certificate = current.end_entity_cert().map_err(|error| wrong(error.to_string()))?;
        peer::bears_one_of(certificate, &[name.to_owned()]).map_err(|error| wrong(error.to_string()))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some((*self.reloaded.current()).clone())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some((*self.reloaded.current()).clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
