//! Reading, from whichever address has its turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use model::RowKey;
use runtime::Runtime;
use tokio_postgres::error::SqlState;
use tracing::Instrument;

use super::{
    changes::Changes,
    config::Role,
    connection::Connections,
    reader::Address,
    schema::{self, named},
    trouble::Trouble,
};
use crate::{Checkpoint, Error, List, ListRead, PointRead, PostgresConfig, RowReader, Serving, telemetry::read_span};

/// The reading side alone, of a process that writes nothing. Several addresses take turns; each answers by its own checkpoint,
/// and a standby that lags says so by it.
pub struct PostgresReader {
    turns: Vec<Turn>,
    next: AtomicUsize,
    pub(super) changes: Arc<Changes>,
    runtime: Runtime,
    config: PostgresConfig,
}

/// One address.
struct Turn {
    address: Arc<Address>,
    /// In microseconds of the runtime's time: before that another one is asked, if there is one.
    away_until: AtomicU64,
}

/// For so long nobody waits again for an address that did not answer.
const AWAY: Duration = Duration::from_secs(1);

/// One that was lost in the middle of a read is asked again, or the next address.
const ATTEMPTS_MAX: usize = 2;

impl PostgresReader {
    /// Opens the database at these addresses for reading, each a primary or a hot standby of it.
    ///
    /// # Errors
    /// [`Error::NotMigrated`]; [`Error::Unreachable`] where none of them answers; [`Error::Open`] where one refuses.
    pub async fn open(urls: &[&str], runtime: &Runtime, config: &PostgresConfig) -> Result<Self, Error> {
        let statement_duration_max = config.statement_duration_max.min(config.list_duration_max);
        let config = &PostgresConfig { statement_duration_max, ..config.clone() };
        let mut addresses = Vec::with_capacity(urls.len());
        for url in urls {
            let address = config.connection(url, Role::Query)?;
            addresses.push(Arc::new(Address::new(Connections::new(address, config.readers, config, runtime)?)));
        }
        let mut found =
            Err(Error::Setting { setting: "the query database's addresses", reason: "there is none".into() });
        for address in &addresses {
            // One that is down may come back; one that is another's may not be among them.
            match inspect(&address.connections).await {
                Err(error @ Error::Unreachable { .. }) if found.is_err() => found = Err(error),
                Err(Error::Unreachable { .. }) => {}
                other => found = Ok(other?),
            }
        }
        found?;
        let changes = Changes::watch(&addresses, config.poll_interval, runtime);
        let turns = addresses.into_iter().map(|address| Turn { address, away_until: AtomicU64::new(0) }).collect();
        Ok(Self { turns, next: AtomicUsize::new(0), changes, runtime: runtime.clone(), config: config.clone() })
    }

    /// Asks the next address, and another one where that is gone.
    async fn ask<'a, T>(
        &'a self,
        ask: impl Fn(&'a Address) -> BoxFuture<'a, Result<T, Trouble>> + Send,
    ) -> Result<T, Trouble> {
        let mut attempts = 0;
        loop {
            let turn = self.next();
            attempts += 1;
            let answer = ask(&turn.address).await;
            let Err(trouble) = &answer else { return answer };
            if matches!(trouble, Trouble::Unsent(_) | Trouble::Lost(_) | Trouble::Silent(_)) {
                turn.away_until.store(micros(self.runtime.now() + AWAY), Ordering::Relaxed);
            }
            if attempts == ATTEMPTS_MAX || !self.may_be_elsewhere(trouble) {
                return answer;
            }
            turn.address.connections.renew();
        }
    }

    /// The next one that is not away; where all are, the next one.
    fn next(&self) -> &Turn {
        let (first, count) = (self.next.fetch_add(1, Ordering::Relaxed), self.turns.len());
        let now = micros(self.runtime.now());
        let turn = |step| &self.turns[first.wrapping_add(step) % count];
        let is_there = |turn: &&Turn| turn.away_until.load(Ordering::Relaxed) <= now;
        (0..count).map(turn).find(is_there).unwrap_or_else(|| turn(0))
    }

    fn may_be_elsewhere(&self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::Lost(_) => true,
            Trouble::Unsent(_) => self.turns.len() > 1,
            // A standby has undone what was in the way of its primary's changes.
            Trouble::Refused(error) => error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE),
            Trouble::Silent(_) | Trouble::Damaged(_) | Trouble::Known(_) => false,
        }
    }

    fn reading(&self, trouble: Trouble) -> Error {
        let names: Vec<&str> = self.turns.iter().map(|turn| &*turn.address.connections.database).collect();
        trouble.reading(&names.join(", "))
    }

    async fn listed(&self, read_model: &str, list: &List) -> Result<Option<ListRead>, Error> {
        let limit = self.config.list_duration_max;
        let late = || Error::TimeLimit { read_model: read_model.to_owned(), limit };
        let page = self.ask(|address| Box::pin(address.list(read_model, list, limit)));
        match self.runtime.timeout(limit, page).await {
            Err(_) => Err(late()),
            Ok(Err(trouble)) if trouble.code() == Some(&SqlState::QUERY_CANCELED) => Err(late()),
            Ok(page) => page.map_err(|trouble| self.reading(trouble)),
        }
    }
}

impl Drop for PostgresReader {
    fn drop(&mut self) {
        self.changes.close();
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Looks whether the database there is one that this binary can use.
pub(super) async fn inspect(connections: &Connections) -> Result<(), Error> {
    let inspected = connections
        .read(|connection| async move {
            schema::inspect(&connection).await?;
            Ok((connection, ()))
        })
        .await;
    let database = connections.database.to_string();
    inspected.map_err(|trouble| match named(trouble, &database) {
        Trouble::Unsent(source) | Trouble::Lost(source) => Error::Unreachable { database, source },
        Trouble::Silent(source) => Error::Unreachable { database, source: source.into() },
        Trouble::Refused(source) => Error::Open { database, source: source.into() },
        trouble => trouble.reading(&database),
    })
}

impl RowReader for PostgresReader {
    fn serving(&self, read_model: &str) -> BoxFuture<'_, Result<Serving, Error>> {
        let read_model = read_model.to_owned();
        Box::pin(async move {
            let asked = self.ask(|address| {
                let read_model = read_model.clone();
                Box::pin(async move { address.serving_now(&read_model).await })
            });
            asked.await.map_err(|trouble| self.reading(trouble))
        })
    }

    fn point<'a>(&'a self, read_model: &'a str, key: &'a RowKey) -> BoxFuture<'a, Result<PointRead, Error>> {
        let read = async move {
            let asked = self.ask(|address| Box::pin(address.point(read_model, key)));
            asked.await.map_err(|trouble| self.reading(trouble))
        };
        Box::pin(read.instrument(read_span()))
    }

    fn checkpoint<'a>(&'a self, read_model: &'a str) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move {
            let asked = self.ask(|address| Box::pin(address.checkpoint(read_model)));
            asked.await.map_err(|trouble| self.reading(trouble))
        })
    }

    fn list<'a>(&'a self, read_model: &'a str, list: List) -> BoxFuture<'a, Result<Option<ListRead>, Error>> {
        let read = async move { self.listed(read_model, &list).await };
        Box::pin(read.instrument(read_span()))
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        self.changes.changed()
    }
}

impl std::fmt::Debug for PostgresReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses: Vec<_> = self.turns.iter().map(|turn| &turn.address.connections.database).collect();
        formatter.debug_struct("PostgresReader").field("addresses", &addresses).finish_non_exhaustive()
    }
}
