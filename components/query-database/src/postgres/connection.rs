//! Connections to one address, as many as are allowed, and none that anybody has left in the middle of something.

use std::{future::Future, ops::Deref, sync::Arc, time::Duration};

use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod};
use runtime::Runtime;
use tokio_postgres::{Config, NoTls};

use super::{config, trouble::Trouble};
use crate::{Error, PostgresConfig};

/// The connections to one address.
pub(super) struct Connections {
    /// How errors name the database.
    pub(super) database: Arc<str>,
    pool: Pool,
    runtime: Runtime,
    connect_duration_max: Duration,
    /// The server ends a statement before.
    answer_duration_max: Duration,
}

/// A connection in use. Dropped, it is closed: who did not come to an end has left an answer, or a transaction, on it.
pub(super) struct Connection(Option<Object>);

/// Statements that a connection keeps prepared: a few for each generation. Where there are more, all are prepared anew.
const STATEMENTS_MAX: usize = 256;

/// So much later than the server would have is a statement given up.
const GRACE: Duration = Duration::from_secs(1);

impl Connections {
    pub(super) fn new(
        address: Config,
        connections_max: usize,
        settings: &PostgresConfig,
        runtime: &Runtime,
    ) -> Result<Self, Error> {
        let database: Arc<str> = config::name(&address).into();
        let method = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match settings.tls() {
            Some(tls) => Manager::from_config(address, tls, method),
            None => Manager::from_config(address, NoTls, method),
        };
        let pool = Pool::builder(manager).max_size(connections_max.max(1)).build();
        Ok(Self {
            pool: pool.map_err(|source| Error::Open { database: database.to_string(), source: source.into() })?,
            database,
            runtime: runtime.clone(),
            connect_duration_max: settings.connect_duration_max,
            answer_duration_max: settings.statement_duration_max + GRACE,
        })
    }

    /// Runs `work` on a connection of its own, which `work` gives back where it has come to an end.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce(Connection) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<(Connection, T), Trouble>>,
    {
        let connection = self.connect().await?;
        let worked = self.runtime.timeout(self.answer_duration_max, work(connection)).await;
        let (connection, done) = worked.map_err(Trouble::Silent)??;
        connection.give_back();
        Ok(done)
    }

    /// As [`Self::run`], for what changes nothing: it is tried once more where the connection was lost meanwhile. Connections
    /// that were idle when their server was restarted are found out in this way, all at once.
    pub(super) async fn read<T, F>(&self, work: impl Fn(Connection) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<(Connection, T), Trouble>>,
    {
        match self.run(&work).await {
            Err(trouble) if trouble.is_of_the_connection() => {
                self.renew();
                self.run(&work).await
            }
            result => result,
        }
    }

    /// Closes what is idle: one connection was lost, and whatever took it may have taken others that do not know it yet. The
    /// next call gets a fresh one.
    pub(super) fn renew(&self) {
        self.pool.retain(|_, _| false);
    }

    async fn connect(&self) -> Result<Connection, Trouble> {
        let free = self.runtime.timeout(self.connect_duration_max, self.pool.get()).await;
        let object = free.map_err(|late| Trouble::Unsent(late.into()))?;
        let object = object.map_err(|error| match error {
            PoolError::Backend(source) => Trouble::of_connecting(source),
            error => Trouble::Unsent(error.into()),
        })?;
        if object.statement_cache.size() > STATEMENTS_MAX {
            object.statement_cache.clear();
        }
        Ok(Connection(Some(object)))
    }
}

impl Connection {
    fn give_back(mut self) {
        drop(self.0.take());
    }

    /// What was found out on it, with the connection itself unless that is of no more use. Outside of transactions only.
    pub(super) fn with<T>(self, found: Result<T, Trouble>) -> Result<(Self, T), Trouble> {
        match found {
            Ok(found) => Ok((self, found)),
            Err(Trouble::Known(error)) => {
                // Known by an answer that has come to its end.
                self.give_back();
                Err(error.into())
            }
            Err(trouble) => Err(trouble),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        // Only `give_back` and `drop` take it away, and both end the connection's use.
        self.0.as_deref().unwrap_or_else(|| unreachable!("a connection is used before it is given back"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{config::Role, schema};

    #[tokio::test]
    async fn a_connection_has_its_role_and_its_limits_whatever_the_server_is_set_to() {
        let server = cluster::Postgres::new()
            .setting("fsync", "off")
            .setting("default_transaction_isolation", "serializable")
            .start()
            .expect("started");
        let (url, settings) = (server.url("postgres"), PostgresConfig::default());
        schema::migrate(&url, &settings).await.expect("made ready");
        for (role, name, read_only) in [(Role::Handler, "handler", "off"), (Role::Query, "query", "on")] {
            let address = settings.connection(&format!("{url}?options=-c%20work_mem%3D8MB"), role).expect("an address");
            let connections = Connections::new(address, 1, &settings, &Runtime::tokio()).expect("a pool");
            let set = connections.run(|connection| async move {
                let set = "SELECT array[current_user::text, current_setting('default_transaction_read_only'), \
                     current_setting('transaction_isolation'), current_setting('statement_timeout'), \
                     current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), \
                     current_setting('work_mem')]";
                let set: Vec<String> = connection.query_one(set, &[]).await?.try_get(0)?;
                Ok((connection, set))
            });
            let expected = [&format!("diptych_{name}"), read_only, "read committed", "30s", "10s", "5s", "8MB"];
            assert_eq!(set.await.expect("asked"), expected);
        }
    }
}
