//! What can be set, and how a connection is opened.

use std::time::Duration;

use rustls::ClientConfig;
use tokio_postgres::{Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::Error;

/// What can be set.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// How a server proves who it is, by the name or address that its URL has. In plain text, where there is nothing.
    pub tls: Option<ClientConfig>,
    /// Begins the names of the two roles, which are of a whole server: `handler`, who writes rows and checkpoints, and `query`,
    /// who reads them. Nobody logs in as one of them; whoever connects must be a member. A handler is a member of `query`.
    pub role_prefix: String,
    /// Most connections for writing.
    pub writers: usize,
    /// Most connections for reading, to each address.
    pub readers: usize,
    /// How long a call waits for a free connection, and for a new one.
    pub connect_duration_max: Duration,
    /// How long a statement may take; a little later the connection is given up.
    pub statement_duration_max: Duration,
    /// How long a statement waits for a lock.
    pub lock_duration_max: Duration,
    /// How long a list may take, waiting for its connection included. No other read may take longer either.
    pub list_duration_max: Duration,
    /// How often the checkpoints are looked at while somebody waits for a change.
    pub poll_interval: Duration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            tls: None,
            role_prefix: "diptych_".to_owned(),
            writers: 8,
            readers: 16,
            connect_duration_max: Duration::from_secs(2),
            statement_duration_max: Duration::from_secs(30),
            lock_duration_max: Duration::from_secs(10),
            list_duration_max: Duration::from_secs(5),
            poll_interval: Duration::from_millis(5),
        }
    }
}

/// As whom a connection works, whoever has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Handler,
    Query,
}

/// A transaction of ours waits for nothing but the next message. Whoever is suspended in one, or cut off, holds its generation
/// no longer than this.
const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(5);

/// So much of a role's name may be chosen: with its end it is an identifier of PostgreSQL's.
const PREFIX_BYTES_MAX: usize = 40;

impl PostgresConfig {
    /// The name of a role. Checked to be one that needs no quotes, wherever it is written.
    pub(super) fn role(&self, role: Role) -> Result<String, Error> {
        let prefix = &self.role_prefix;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name = prefix.bytes().all(is_plain) && !prefix.starts_with(|first: char| first.is_ascii_digit());
        if !is_name || prefix.len() > PREFIX_BYTES_MAX || prefix.starts_with("pg_") {
            let reason = format!(
                "{prefix:?} is not up to {PREFIX_BYTES_MAX} lower case letters, digits and _, first no digit and not pg_"
            );
            return Err(Error::Setting { setting: "the prefix of roles", reason });
        }
        let end = match role {
            Role::Handler => "handler",
            Role::Query => "query",
        };
        Ok(format!("{prefix}{end}"))
    }

    /// The address, without what it says of passwords in the error.
    pub(super) fn parse(&self, url: &str) -> Result<Config, Error> {
        let unreadable = |_| Error::Setting {
            setting: "the query database's address",
            reason: "it is not postgres://…".to_owned(),
        };
        let mut config: Config = url.parse().map_err(unreadable)?;
        if self.tls.is_some() {
            // Whatever the URL says: a server without TLS, or somebody in its place, gets nothing.
            config.ssl_mode(SslMode::Require);
        }
        Ok(config)
    }

    pub(super) fn tls(&self) -> Option<MakeRustlsConnect> {
        self.tls.clone().map(MakeRustlsConnect::new)
    }

    /// A connection to `url` that works as `role`, whatever its server or its user has configured.
    ///
    /// Options of the connection and not statements: they hold for every transaction on it, and none of them has to be made
    /// again when a connection is.
    pub(super) fn connection(&self, url: &str, role: Role) -> Result<Config, Error> {
        let mut config = self.parse(url)?;
        let read_only = if role == Role::Query { "on" } else { "off" };
        let options = format!(
            "{} -c role={} -c default_transaction_read_only={read_only} -c default_transaction_isolation=read\\ committed \
             -c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} \
             -c client_connection_check_interval=1000 -c search_path=pg_catalog -c jit=off \
             -c client_min_messages=warning",
            config.get_options().unwrap_or_default(),
            self.role(role)?,
            self.statement_duration_max.as_millis(),
            self.lock_duration_max.as_millis(),
            IDLE_IN_TRANSACTION_MAX.as_millis(),
        );
        config.options(options).application_name("diptych-query-database").connect_timeout(self.connect_duration_max);
        // A peer that is gone without a word is noticed by the system before anybody else gives up.
        config.keepalives_idle(Duration::from_secs(15)).tcp_user_timeout(self.statement_duration_max);
        Ok(config)
    }
}

/// How a database is named in errors: where it is, and nothing of who connects.
pub(super) fn name(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{}@{host}:{port}", config.get_dbname().unwrap_or_default())
}
