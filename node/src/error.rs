use std::{fmt, net::SocketAddr, path::PathBuf};

use model::EpochId;

/// One of the process's listeners, named by where its address can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The interface.
    Public,
    /// The operator's.
    Admin,
}

impl Listener {
    /// # Errors
    /// [`Error::NotLoopback`].
    pub(crate) fn check(self, address: SocketAddr) -> Result<(), Error> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        let needed = match self {
            Self::Public => {
                "that needs load_balancer.certificate_path and load_balancer.key_path (TLS), or --behind-tls-proxy with the \
                 addresses of proxies that end it; and, since there is no authentication yet, insecure_no_authentication = true"
            }
            Self::Admin => "nobody is asked there who he is, and there is no TLS",
        };
        Err(Error::NotLoopback { listener: self, address, needed })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Public => "--listen (the setting load_balancer.listen)",
            Self::Admin => "--admin (the setting admin.listen)",
        })
    }
}

/// Why a verb did not do what it was asked for. Nothing was touched, unless the message says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A declaration of the domain is wrong.
    #[error("the application's domain cannot be used")]
    Registry(#[from] model::RegistryError),
    /// The data directory cannot be read or written.
    #[error("cannot use the data directory {path}: {attempted} failed")]
    DataDirectory {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What was attempted.
        attempted: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing to look at.
    #[error("there is no directory {path}: name that of a system that has run with --data")]
    NoDirectory {
        /// What was named.
        path: PathBuf,
    },
    /// The directory holds something else.
    #[error("{path} is not a data directory of Diptych: {found}; name an empty or a new directory with --data")]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The directory belongs to another application.
    #[error("{path} holds the data of {found:?}, this is {application:?}: name another directory with --data")]
    OtherApplication {
        /// The directory.
        path: PathBuf,
        /// Whose data it is.
        found: String,
        /// Who asks.
        application: String,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process: stop that one, or name another directory with --data")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Its log is elsewhere.
    #[error(
        "the log of {path} was moved to {to}, where it goes on as epoch {epoch}: name that database as `command_database.url` \
         and start the boxes with `serve`; nothing starts on {path} any more"
    )]
    Moved {
        /// The directory.
        path: PathBuf,
        /// Where it is.
        to: String,
        /// As which life.
        epoch: EpochId,
    },
    /// A restore was interrupted.
    #[error("a log is being restored into {path}, and is not whole: run `restore` again, or remove the directory")]
    Restoring {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody's data is there already.
    #[error("{path} has a log already: name a new or an empty directory with --to")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A log is not copied.
    #[error("cannot {attempted}")]
    Copy {
        /// What was attempted.
        attempted: &'static str,
        /// What is in the way.
        source: command_database::Error,
    },
    /// Log or rows cannot be looked at.
    #[error(transparent)]
    Verify(#[from] verify::Error),
    /// A newer binary wrote it.
    #[error(
        "{path} has format {format} and needs version {oldest_binary} or newer, this binary is {binary}: start the newer binary"
    )]
    NeedsNewerBinary {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The oldest version that may use it.
        oldest_binary: String,
        /// This version.
        binary: &'static str,
    },
    /// A listener is not for the world.
    #[error("{listener} is {address}, which others can reach: {needed}; or name a loopback address such as 127.0.0.1")]
    NotLoopback {
        /// Which one.
        listener: Listener,
        /// Where it was to be.
        address: SocketAddr,
        /// What others may reach it with.
        needed: &'static str,
    },
    /// Files of certificates or keys.
    #[error("TLS cannot be used")]
    Tls(#[from] wire::Error),
    /// A server has not proven who it is.
    #[error("no TLS with the server: see {setting}")]
    Unproven {
        /// By what it is believed.
        setting: &'static str,
        /// What was met.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: stop what listens there, or choose another address, by {listener}")]
    Listen {
        /// Which one.
        listener: Listener,
        /// Where it was to be.
        address: SocketAddr,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A box cannot be reached by others.
    #[error("cannot take calls as {role}")]
    Endpoint {
        /// Which one.
        role: &'static str,
        /// Why.
        source: wire::Error,
    },
    /// A queue cannot be reached.
    #[error("cannot use the Message Queue")]
    MessageQueue(#[from] message_queue::Error),
    /// Settings that do not fit.
    #[error("the configuration cannot be used: {0}")]
    Settings(String),
    /// The Load Balancer.
    #[error("cannot start the Load Balancer")]
    LoadBalancer(#[from] load_balancer::Error),
    /// The log cannot be opened.
    #[error("cannot open the Command Database")]
    CommandDatabase(#[from] command_database::Error),
    /// The rows cannot be opened.
    #[error("cannot open the Query Database")]
    QueryDatabase(#[from] query_database::Error),
    /// The Event Handler cannot start.
    #[error("cannot start the Event Handler: {0}")]
    EventHandler(String),
    /// No address of an admin listener.
    #[error("{url:?} is no address of a system: write http://HOST:PORT, as `dev` prints it beside admin")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody answers there.
    #[error("cannot reach {url}: start the system with `dev`, or name another with --url")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What was met.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else answers there.
    #[error("{url} answered {code} and no status: name the admin listener of a system with --url, not the interface")]
    NoStatus {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        code: u16,
    },
    /// Whoever started the process has handed over something else.
    #[error(
        "cannot listen on what was handed over at the start: sockets of TCP are taken, such as a socket unit's ListenStream="
    )]
    Inherited(#[source] std::io::Error),
    /// The system gives no runtime.
    #[error("cannot start the process's threads")]
    Threads(#[source] std::io::Error),
}

impl Error {
    /// Whether a server or a system does not answer.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Copy { source, .. } => matches!(source, command_database::Error::Connect { .. }),
            Self::Verify(error) => error.is_unreachable(),
            _ => false,
        }
    }

    /// Names the setting by which a server is believed, if that is why `error` came about.
    pub(crate) fn unproven<E>(setting: &'static str, error: E) -> Self
    where
        E: Into<Self> + std::error::Error + Send + Sync + 'static,
    {
        // PostgreSQL's driver has no type for a server that has none.
        let has_no_tls = chain(&error).contains("server does not support TLS");
        if has_no_tls || wire::handshake_failure(&error).is_some() {
            return Self::Unproven { setting, source: Box::new(error) };
        }
        error.into()
    }
}

/// `error` and what caused it, on one line, for people.
#[must_use]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
