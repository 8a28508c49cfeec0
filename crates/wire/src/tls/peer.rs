//! Which certificates are taken: signed by an authority that is believed, and bearing the role that is wanted.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use webpki::EndEntityCert;

use super::{authorities::Authorities, config};

/// What a server has to prove beside its authority.
#[derive(Debug)]
pub(super) enum Expects {
    /// The host name or address by which it is called.
    ItsName,
    /// A name of a role. Where it runs does not matter: instances come and go, and found by a forged address is nobody who
    /// could prove the role.
    Role(String),
}

/// Looks at the certificates of servers.
#[derive(Debug)]
pub(super) struct ServerProof {
    pub(super) authorities: Authorities,
    pub(super) expects: Expects,
}

/// Looks at the certificates of clients, who have to bear one of these names.
#[derive(Debug)]
pub(super) struct ClientProof {
    pub(super) authorities: Authorities,
    pub(super) names: Vec<String>,
}

/// A certificate without the name that is wanted.
struct WrongRole {
    found: Vec<String>,
    wanted: Vec<String>,
}

impl fmt::Display for WrongRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.found.is_empty() { "no role".to_owned() } else { self.found.join(" and ") };
        write!(formatter, "the certificate bears {found}, not {}", self.wanted.join(" or "))
    }
}

impl fmt::Debug for WrongRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for WrongRole {}

/// Refuses a certificate that bears none of `names` as a URI among its alternative names.
pub(super) fn bears_one_of(certificate: &CertificateDer<'_>, names: &[String]) -> Result<(), Error> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let mut found = parsed.valid_uri_names();
    if found.any(|found| names.iter().any(|name| name == found)) {
        return Ok(());
    }
    let found = parsed.valid_uri_names().map(str::to_owned).collect();
    Err(CertificateError::Other(OtherError(Arc::new(WrongRole { found, wanted: names.to_vec() }))).into())
}

impl ServerCertVerifier for ServerProof {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let believed = self.authorities.reloaded.current();
        let Expects::Role(role) = &self.expects else {
            return believed.servers.verify_server_cert(certificate, between, name, ocsp, now);
        };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = config::provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &believed.roots, between, now, algorithms)?;
        bears_one_of(certificate, std::slice::from_ref(role))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.reloaded.current().servers.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.reloaded.current().servers.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.reloaded.current().servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for ClientProof {
    /// No hints: whoever calls has one certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let believed = self.authorities.reloaded.current();
        let verified = believed.clients.verify_client_cert(certificate, between, now)?;
        bears_one_of(certificate, &self.names)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.reloaded.current().clients.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.reloaded.current().clients.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.reloaded.current().clients.supported_verify_schemes()
    }
}
