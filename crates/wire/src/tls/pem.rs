use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::config;
use crate::Error;

/// A file of certificates or of a key, in PEM, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// What errors call it.
    pub setting: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// What changes when a file is written or replaced.
pub(super) type Stamp = Option<(SystemTime, u64)>;

impl PemFile {
    pub(super) fn stamp(&self) -> Stamp {
        let file = std::fs::metadata(&self.path).ok()?;
        Some((file.modified().unwrap_or(SystemTime::UNIX_EPOCH + Duration::ZERO), file.len()))
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Pem { setting: self.setting, path: self.path.clone(), reason: reason.into() }
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        std::fs::read(&self.path).map_err(|error| self.error(format!("cannot be read: {error}")))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let bytes = self.read()?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match read {
            Ok(certificates) if certificates.is_empty() => Err(self.error("has no certificate in PEM")),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.error(format!("is no PEM: {error}"))),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let read = PrivateKeyDer::from_pem_slice(&self.read()?);
        read.map_err(|error| self.error(format!("has no private key in PEM, without a password: {error}")))
    }

    /// The certificates that are believed in themselves.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.error(format!("has an unusable certificate: {error}")))?;
        }
        Ok(Arc::new(roots))
    }
}

/// A certificate, those between it and its authority, and its key.
pub(super) fn certified_key(certificate: &PemFile, key: &PemFile) -> Result<Arc<CertifiedKey>, Error> {
    let made = CertifiedKey::from_der(certificate.certificates()?, key.key()?, &config::provider());
    let wrong = |error| key.error(format!("does not go with the certificate in {}: {error}", certificate.setting));
    Ok(Arc::new(made.map_err(wrong)?))
}
