//! Where a log is, and its limits.

use std::{fmt, time::Duration};

use rustls::ClientConfig;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Error, Metrics};

/// PostgreSQL cuts names after 63 bytes, and the longest of ours ends with `_migrator`.
const ROLE_PREFIX_BYTES_MAX: usize = 54;

/// Where a log on PostgreSQL is, its limits, and where it reports to.
#[derive(Clone)]
pub struct PostgresConfig {
    /// Such as `postgres://user:password@host:5432/database`, or `host=… user=… dbname=…`. It may be that of a pooler which
    /// passes `options` on and keeps named statements.
    pub url: String,
    /// How the server proves who it is, by the name or address that the URL has. In plain text, where there is nothing.
    pub tls: Option<ClientConfig>,
    /// What the names of the server's roles for this log begin with; the database's name where there is none.
    pub role_prefix: Option<String>,
    /// Most connections of this process, at least two: one for appends, the others for everything else.
    pub connections_max: usize,
    /// How long a new connection may take.
    pub connect_timeout: Duration,
    /// How long a read that finds no connection, or loses it, is tried again.
    pub read_patience: Duration,
    /// How long the server may work on one statement, and the longest that an answer is waited for beyond that.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock, which for an append means for the appends of other processes.
    pub lock_timeout: Duration,
    /// Most events of one append.
    pub append_events_max: usize,
    /// Most bytes of payload of one append.
    pub append_bytes_max: usize,
    /// What is measured.
    pub metrics: Metrics,
}

impl PostgresConfig {
    /// A log at `url`, with the usual limits.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tls: None,
            role_prefix: None,
            connections_max: 8,
            connect_timeout: Duration::from_secs(5),
            read_patience: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            append_events_max: 20_000,
            append_bytes_max: 32 * 1024 * 1024,
            metrics: Metrics::default(),
        }
    }

    pub(super) fn parse(&self) -> Result<Address, Error> {
        let refused = |problem: String| Error::Address { problem };
        let mut driver: tokio_postgres::Config =
            self.url.parse().map_err(|error: tokio_postgres::Error| refused(reason(&error)))?;
        let Some(database) = driver.get_dbname().map(str::to_owned) else {
            return Err(refused("it names no database: end it with `/<database>`".to_owned()));
        };
        if self.connections_max < 2 {
            return Err(refused(format!("{} connections are too few: allow at least 2", self.connections_max)));
        }
        let options = driver.get_options().unwrap_or_default();
        driver.options(format!("{options} {}", self.session()));
        driver.connect_timeout(self.connect_timeout);
        driver.tcp_user_timeout(self.statement_timeout);
        driver.keepalives_idle(self.statement_timeout);
        if self.tls.is_some() {
            // Whatever the URL says: a server without TLS, or somebody in its place, gets nothing.
            driver.ssl_mode(SslMode::Require);
        }
        if driver.get_application_name().is_none() {
            driver.application_name("diptych-command-database");
        }
        let log = name(&driver, &database);
        let role_prefix = self.role_prefix.clone().unwrap_or(database);
        if role_prefix.len() > ROLE_PREFIX_BYTES_MAX {
            let found = role_prefix.len();
            return Err(refused(format!(
                "{found} bytes are too many for what roles' names begin with: set a prefix of at most {ROLE_PREFIX_BYTES_MAX}"
            )));
        }
        let tls = self.tls.clone().map(MakeRustlsConnect::new);
        Ok(Address { driver, tls, log, role_prefix })
    }

    /// What holds for every statement of a session. Statements are short, and tables that were never analysed look large to the
    /// planner: compiling a plan for them took 150 ms where running it takes one.
    fn session(&self) -> String {
        let (statement, lock) = (self.statement_timeout.as_millis(), self.lock_timeout.as_millis());
        format!(
            "-c statement_timeout={statement} -c lock_timeout={lock} -c idle_in_transaction_session_timeout={statement} \
             -c default_transaction_isolation=read\\ committed -c jit=off"
        )
    }
}

impl fmt::Debug for PostgresConfig {
    /// Without the address, which may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresConfig")
            .field("role_prefix", &self.role_prefix)
            .field("connections_max", &self.connections_max)
            .finish_non_exhaustive()
    }
}

/// A configuration that was understood.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) driver: tokio_postgres::Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    /// What errors call the log.
    pub(super) log: String,
    pub(super) role_prefix: String,
}

impl Address {
    pub(super) fn migrator(&self) -> String {
        format!("{}_migrator", self.role_prefix)
    }
}

fn reason(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}; write `postgres://user:password@host:5432/database`")
}

fn name(driver: &tokio_postgres::Config, database: &str) -> String {
    let host = match driver.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = driver.get_ports().first().copied().unwrap_or(5432);
    format!("postgres://{host}:{port}/{database}")
}
