//! Signs certificates, as an operator would with a program of his own.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use wire::{Error, MutualTls, PemFile};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// What one process has: three files.
pub(crate) struct Files {
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// For a process of the application `shop` with these roles.
    pub(crate) fn files(&self, roles: &[&str]) -> Files {
        let files = Files { folder: tempfile::tempdir().expect("a folder") };
        files.write("ca.pem", &self.certificate);
        self.issue(roles, &files);
        files
    }

    /// Replaces certificate and key.
    pub(crate) fn issue(&self, roles: &[&str], files: &Files) {
        let mut params = CertificateParams::default();
        let names = roles.iter().map(|role| format!("diptych://shop/{role}"));
        params.subject_alt_names = names.map(|name| SanType::URI(name.try_into().expect("ASCII"))).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        files.write("certificate.pem", &certificate.pem());
        files.write("key.pem", &key.serialize_pem());
    }
}

impl Files {
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    pub(crate) fn copy(&self, name: &str, from: &Self) {
        fs::copy(from.path(name), self.path(name)).expect("copied");
    }

    fn path(&self, name: &str) -> impl AsRef<Path> + Into<std::path::PathBuf> + use<> {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self) -> Result<MutualTls, Error> {
        let file = |setting, name| PemFile { setting, path: self.path(name).into() };
        MutualTls::read(
            "shop",
            file("tls.certificate_path", "certificate.pem"),
            file("tls.key_path", "key.pem"),
            file("tls.ca_path", "ca.pem"),
        )
    }

    pub(crate) fn tls(&self) -> MutualTls {
        self.read().expect("what an authority has signed")
    }
}
