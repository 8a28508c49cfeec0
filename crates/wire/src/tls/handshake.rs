//! What is said of a handshake that failed.

use std::{error::Error as StdError, io, time::Duration};

use rustls::{AlertDescription, CertificateError, Error};

/// What TLS has against the other end, or the other end against us, if that is why `error` came about.
#[must_use]
pub fn handshake_failure(error: &(dyn StdError + 'static)) -> Option<String> {
    cause(error).map(said)
}

pub(super) fn too_slow(span: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {span:?}"))
}

pub(super) fn reason(error: &io::Error) -> String {
    handshake_failure(error).unwrap_or_else(|| error.to_string())
}

/// Whether the other end has read nothing, since it did not believe our certificate. In TLS 1.3 it says so only after the
/// handshake has ended for the calling end, and what was sent meanwhile is lost.
pub(crate) fn is_turned_away(error: &(dyn StdError + 'static)) -> bool {
    use AlertDescription as Alert;
    let Some(Error::AlertReceived(alert)) = cause(error) else { return false };
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found);
        }
        // The source of an error of I/O is what lies under the one that it is made of.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return cause(inner);
        }
        next = error.source();
    }
    None
}

fn said(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is not signed by an authority that is believed".to_owned()
        }
        Error::InvalidMessage(_) => format!("{error}: most likely it speaks no TLS"),
        Error::AlertReceived(alert) => format!("the other end refuses: {alert:?}"),
        other => other.to_string(),
    }
}
