//! Certificates for tests, as an operator would have them signed.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;

use crate::Error;

/// Signs certificates. Dropped, its files are removed.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    issued: AtomicUsize,
}

/// A certificate and its key, each in a file in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// One that nobody believes yet.
    ///
    /// # Errors
    /// When its files cannot be made.
    pub fn new(name: &str) -> Result<Self, Error> {
        let failed = |source| Error::File { path: PathBuf::from("a certificate"), source };
        let folder = tempfile::tempdir().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().map_err(unsigned)?;
        let certificate = params.self_signed(&key).map_err(unsigned)?.pem();
        write(&folder.path().join("ca.pem"), &certificate)?;
        Ok(Self { folder, issuer: Issuer::new(params, key), issued: AtomicUsize::new(0) })
    }

    /// The file by which it is believed.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate for these names: addresses, URIs, or names of hosts.
    ///
    /// # Errors
    /// When its files cannot be made.
    pub fn issue(&self, names: &[&str]) -> Result<Issued, Error> {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let file = |end: &str| self.folder.path().join(format!("{number}-{end}.pem"));
        let issued = Issued { certificate: file("certificate"), key: file("key") };
        self.issue_to(names, &issued)?;
        Ok(issued)
    }

    /// As [`Authority::issue`], into these files, which may exist.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn issue_to(&self, names: &[&str], files: &Issued) -> Result<(), Error> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
        let key = KeyPair::generate().map_err(unsigned)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(unsigned)?;
        write(&files.certificate, &certificate.pem())?;
        write(&files.key, &key.serialize_pem())
    }
}

fn alternative(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let text = name.try_into().map_err(unsigned)?;
    Ok(if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn unsigned(error: rcgen::Error) -> Error {
    Error::Unsigned { said: error.to_string() }
}
