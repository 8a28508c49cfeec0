//! How far the clocks of the databases are from ours.
//!
//! Each look is a connection of its own, which asks for the time and ends: those of the boxes are for their work, and whoever
//! may connect may ask this. A look is a minute after the last one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join;
use jiff::{SignedDuration, Timestamp};
use runtime::{Elapsed, Runtime, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{
    Client, Config, Connection, NoTls, SimpleQueryMessage, Socket,
    config::SslMode,
    tls::{MakeTlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use wire::{Authorities, Skew};

use crate::{Role, Settings, error::chain, roles, tls};

const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a look that told nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// An answer that took longer tells too little: it may be off by half of that.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

/// Microseconds since 1970, of the moment at which the server runs it and not of its transaction's begin.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// What the server calls these connections.
const APPLICATION: &str = "diptych-clock";

/// A database that roles of this process work on.
#[derive(Clone)]
pub(crate) struct Database {
    name: &'static str,
    /// Of the servers that they work on: a primary, its standbys, or both.
    urls: BTreeSet<String>,
    authorities: Option<Authorities>,
    skew: Arc<Skew>,
}

#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("it cannot be asked")]
    Asking(#[from] tokio_postgres::Error),
    #[error("it was not asked in time")]
    Late(#[from] Elapsed),
    #[error("its answer took {0:?}")]
    Slow(Duration),
    #[error("its answer is no time")]
    NoTime,
}

impl Database {
    /// Those that `roles` work on.
    pub(crate) fn of(settings: &Settings, roles: &[Role], databases: &tls::Databases) -> Vec<Self> {
        let runs = |role| roles.contains(&role);
        let mut log = BTreeSet::new();
        if runs(Role::CommandService) || runs(Role::EventHandler) {
            log.insert(settings.command_database.url.clone());
        }
        let mut rows = BTreeSet::new();
        if runs(Role::EventHandler) {
            rows.insert(settings.query_database.url.clone());
        }
        if runs(Role::QueryService) {
            rows.extend(roles::query_database::read_urls(&settings.query_database).into_iter().map(str::to_owned));
        }
        let all = [("command-database", log, &databases.log), ("query-database", rows, &databases.rows)];
        let used = all.into_iter().filter(|(_, urls, _)| !urls.is_empty());
        used.map(|(name, urls, authorities)| Self {
            name,
            urls,
            authorities: authorities.clone(),
            skew: Arc::default(),
        })
        .collect()
    }

    /// What metrics call it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How far its clock is ahead; of several servers, that of the one which is furthest off.
    pub(crate) fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Looks at its clock again and again, until `shutdown`.
    pub(crate) async fn watch(self, runtime: Runtime, shutdown: Shutdown) {
        let looking = async {
            loop {
                let told = self.look(&runtime).await;
                runtime.sleep(if told { LOOK_EVERY } else { LOOK_AGAIN }).await;
            }
        };
        tokio::select! {
            biased;
            () = shutdown.requested() => {}
            () = looking => {}
        }
    }

    /// Whether a server has told its time.
    async fn look(&self, runtime: &Runtime) -> bool {
        let mut seen: Vec<SignedDuration> = Vec::new();
        for url in &self.urls {
            let asked = runtime.timeout(LOOK_TIME_MAX, ahead(url, self.authorities.as_ref(), runtime)).await;
            match asked.map_err(Untold::from).flatten() {
                Ok(ahead) => seen.push(ahead),
                // Whoever works on the database says what is wrong with it.
                Err(untold) => tracing::debug!(peer = self.name, error = %chain(&untold), "a clock was not told"),
            }
        }
        let furthest = seen.into_iter().max_by_key(|ahead| ahead.abs());
        furthest.inspect(|ahead| self.skew.note(self.name, *ahead)).is_some()
    }
}

impl std::fmt::Debug for Database {
    /// Without the addresses, which may hold passwords.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Database").field("name", &self.name).field("skew", &self.skew).finish_non_exhaustive()
    }
}

/// How far the clock of the server at `url` is ahead of ours.
async fn ahead(url: &str, authorities: Option<&Authorities>, runtime: &Runtime) -> Result<SignedDuration, Untold> {
    let mut config: Config = url.parse()?;
    config.application_name(APPLICATION);
    match authorities {
        Some(authorities) => {
            config.ssl_mode(SslMode::Require);
            connected(&config, MakeRustlsConnect::new(authorities.client()), runtime).await
        }
        None => connected(&config, NoTls, runtime).await,
    }
}

async fn connected<T>(config: &Config, tls: T, runtime: &Runtime) -> Result<SignedDuration, Untold>
where
    T: MakeTlsConnect<Socket>,
{
    let (client, connection) = config.connect(tls).await?;
    driven(client, connection, runtime).await
}

/// The connection ends once its client is gone.
async fn driven<S>(
    client: Client,
    connection: Connection<Socket, S>,
    runtime: &Runtime,
) -> Result<SignedDuration, Untold>
where
    S: TlsStream + AsyncRead + AsyncWrite + Unpin,
{
    let told = async move { told(&client, runtime).await };
    join(told, connection).await.0
}

async fn told(client: &Client, runtime: &Runtime) -> Result<SignedDuration, Untold> {
    let asked = runtime.now();
    let answer = client.simple_query(CLOCK).await?;
    let (took, ours) = (runtime.now().saturating_sub(asked), runtime.wall_clock());
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let theirs = row.and_then(|text| Timestamp::from_microsecond(text.parse().ok()?).ok());
    difference(theirs.ok_or(Untold::NoTime)?, ours, took)
}

/// How far a clock is ahead that said `theirs` in an answer which took so long and was here at `ours`: taken to be told in the
/// middle between question and answer.
fn difference(theirs: Timestamp, ours: Timestamp, took: Duration) -> Result<SignedDuration, Untold> {
    if took > ROUND_TRIP_MAX {
        return Err(Untold::Slow(took));
    }
    let middle = ours.checked_sub(took / 2).map_err(|_| Untold::NoTime)?;
    Ok(theirs.duration_since(middle))
}

#[cfg(test)]
mod tests;
