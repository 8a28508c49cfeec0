use std::{fmt, path::PathBuf, time::Duration};

/// What a [`JetStreamQueue`](crate::JetStreamQueue) needs to know.
#[derive(Clone, Debug)]
pub struct JetStreamConfig {
    /// Addresses of the servers of one cluster, such as `nats://10.0.0.1:4222`, without user or password.
    pub servers: Vec<String>,
    /// Who this process is to them.
    pub credentials: Credentials,
    /// How the connection is kept from being read.
    pub tls: Tls,
    /// The application's name: first part of subjects and sources.
    pub application: String,
    /// What comes before a stored name in `ce-type`: a reversed domain name with a full stop at its end.
    pub event_type_prefix: String,
    /// What comes before a type in `ce-dataschema`; without it messages name no schema.
    pub schemas_url: Option<String>,
    /// The stream's name.
    pub stream: String,
    /// Copies of the stream. Fewer than three are an explicit choice, and warned about.
    pub replicas: usize,
    /// Most bytes that the stream keeps; beyond them it refuses what is published, and the log waits for readers to be read.
    pub stream_bytes_max: i64,
    /// How long it keeps a message.
    pub stream_age_max: Duration,
    /// For how long a message that is published again is known.
    pub duplicate_window: Duration,
    /// Most messages that wait for their acknowledgement.
    pub publish_window: usize,
    /// How long a whole batch may take.
    pub publish_timeout: Duration,
    /// How long an answer of the server may take.
    pub request_timeout: Duration,
    /// How far a relay goes back at most, in positions, where the stream has lost what readers may still want.
    pub resume_events_max: u64,
    /// How often a reader that gets nothing looks at the stream, and how long its consumer may be silent.
    pub idle_check: Duration,
    /// The longest pause between two attempts to reach the server.
    pub backoff_max: Duration,
}

impl Default for JetStreamConfig {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            credentials: Credentials::None,
            tls: Tls::default(),
            application: "diptych".to_owned(),
            event_type_prefix: "com.example.diptych.".to_owned(),
            schemas_url: None,
            stream: "diptych-events".to_owned(),
            replicas: 3,
            stream_bytes_max: 1024 * 1024 * 1024,
            stream_age_max: Duration::from_secs(24 * 3600),
            duplicate_window: Duration::from_secs(120),
            publish_window: 512,
            publish_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(2),
            resume_events_max: 2048,
            idle_check: Duration::from_secs(1),
            backoff_max: Duration::from_millis(500),
        }
    }
}

/// Who a process is to NATS.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// A user with a password.
    Password {
        /// Its name.
        user: String,
        /// Its password.
        password: String,
    },
    /// Whoever has the token.
    Token(String),
    /// A file with a JWT and its seed, as `nsc` writes it.
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    /// Never a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Password { user, .. } => write!(formatter, "Password({user})"),
            Self::Token(_) => formatter.write_str("Token"),
            Self::File(path) => write!(formatter, "File({})", path.display()),
        }
    }
}

/// How a connection to NATS is kept from being read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether a server without TLS is refused.
    pub required: bool,
    /// Certificates that are believed, in PEM; where there are none, the system's.
    pub authorities: Option<PathBuf>,
    /// This process's certificate and key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}
