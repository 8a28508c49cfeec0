use serde::{Deserialize, Serialize};

/// What a process proves its roles with to others of the application, and whom it believes. Paths of files in PEM; with them
/// everything between processes is under TLS, on one machine too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The certificate, which names the roles, and those between it and its authority.
    pub certificate_path: String,
    /// Its key.
    pub key_path: String,
    /// The authorities that sign for the application's processes.
    pub ca_path: String,
}
