//! The process's connections: few, counted, and each looked at before its first use.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use parking_lot::Mutex;
use runtime::Runtime;
use tokio_postgres::{Row, types::ToSql};

use super::{
    check,
    config::{Address, PostgresConfig},
    driver::{Driver, Unreplicated},
    epoch::Seen,
    failure::{Failure, Result},
    foresight::Memory,
};

/// First wait before a read is tried again; it doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

pub(super) struct Connections {
    /// One connection: appends of this process follow each other.
    appending: Pool,
    others: Pool,
    /// Of the appends.
    pub(super) unreplicated: Unreplicated,
    address: Address,
    runtime: Runtime,
    /// How long a connection is waited for.
    acquire_timeout: Duration,
    /// How long an answer is waited for, beyond what the server allows itself.
    answer_timeout: Duration,
    read_patience: Duration,
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) memory: Mutex<Memory>,
}

impl Connections {
    pub(super) fn new(address: Address, config: &PostgresConfig, runtime: &Runtime) -> Result<Self> {
        let pool = |size, heard: &Unreplicated| {
            let method = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let driver = Driver { tls: address.tls.clone(), heard: heard.clone() };
            let manager = Manager::from_connect(address.driver.clone(), driver, method);
            Pool::builder(manager).max_size(size).build().map_err(|error| Failure::Unconnected(error.into()))
        };
        let unreplicated = Unreplicated::default();
        Ok(Self {
            appending: pool(1, &unreplicated)?,
            // What is unreplicated of hints is of no interest.
            others: pool(config.connections_max.saturating_sub(1).max(1), &Unreplicated::default())?,
            unreplicated,
            address,
            runtime: runtime.clone(),
            acquire_timeout: config.connect_timeout + config.lock_timeout,
            answer_timeout: config.statement_timeout + config.connect_timeout,
            read_patience: config.read_patience,
            seen: Arc::default(),
            memory: Mutex::new(Memory::new()),
        })
    }

    pub(super) fn log(&self) -> &str {
        &self.address.log
    }

    /// The connection for appends; whoever comes second waits.
    pub(super) async fn for_append(&self) -> Result<Object> {
        self.take(&self.appending).await
    }

    pub(super) async fn for_others(&self) -> Result<Object> {
        self.take(&self.others).await
    }

    async fn take(&self, pool: &Pool) -> Result<Object> {
        let taken = async {
            let connection = pool.get().await?;
            if Object::metrics(&connection).recycled.is_none() {
                // Its server may be another one than the last connection's, or the same one restarted with other settings.
                if let Err(failure) = self.greet(&connection).await {
                    drop(Object::take(connection));
                    return Err(failure);
                }
            }
            Ok(connection)
        };
        self.runtime
            .timeout(self.acquire_timeout, taken)
            .await
            .unwrap_or_else(|_| Err(Failure::Unconnected(Busy.into())))
    }

    async fn greet(&self, connection: &Object) -> Result<()> {
        self.memory.lock().forget();
        check::settings(connection, &self.address).await?;
        check::mark(connection, &self.address).await?;
        self.recognise(connection).await
    }

    /// Rows of a statement that only reads. A lost connection is replaced, as long as patience lasts.
    pub(super) async fn read(&self, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        let began = self.runtime.now();
        let mut wait = RETRY_FIRST;
        loop {
            match self.read_once(statement, parameters).await {
                Err(failure) if failure.is_of_the_connection() => {
                    if self.runtime.now().saturating_sub(began) + wait > self.read_patience {
                        return Err(failure);
                    }
                    tracing::debug!(?failure, "a read is tried again");
                }
                result => return result,
            }
            // Not all readers at once when the server is back.
            let jitter = wait.mul_f64((self.runtime.random_u64() % 1000) as f64 / 2000.0);
            self.runtime.sleep(wait / 2 + jitter).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }

    async fn read_once(&self, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        let connection = self.for_others().await?;
        self.run(connection, statement, parameters).await
    }

    /// Runs a statement that may write, once.
    pub(super) async fn write(&self, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        let connection = self.for_others().await?;
        self.run(connection, statement, parameters).await
    }

    /// Runs a statement on a connection that is given up if it does not answer.
    pub(super) async fn run(
        &self,
        connection: Object,
        statement: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>> {
        let answered = async {
            let prepared = connection.prepare_cached(statement).await?;
            Ok(connection.query(&prepared, parameters).await?)
        };
        match self.answered(answered).await {
            Err(Failure::Silent) => {
                drop(Object::take(connection));
                Err(Failure::Silent)
            }
            result => result,
        }
    }

    /// The server ends what takes too long by itself: this is for one that is cut off.
    pub(super) async fn answered<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.timeout(self.answer_timeout, answer).await.unwrap_or(Err(Failure::Silent))
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no connection was free or made in time")]
struct Busy;
