//! Command Database: a SQLite log or one on PostgreSQL, and the group commit in front of it.

use std::{sync::Arc, time::Duration};

use command_database::{
    EventStore, GroupCommit, GroupLimits, Metrics, PostgresConfig, PostgresEventStore, PostgresLogScan, SqliteConfig,
    SqliteEventStore,
};
use prometheus_client::registry::Registry;
use runtime::{Runtime, Shutdown};
use tokio::runtime::Handle;
use wire::Authorities;

use crate::{DataDirectory, Error, error::chain, settings::CommandDatabaseSettings, tls};

/// How often expired idempotency keys are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct Log {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) group: GroupCommit,
}

pub(crate) fn start(
    directory: &DataDirectory,
    settings: &CommandDatabaseSettings,
    runtime: &Runtime,
    metrics: &mut Registry,
    shutdown: &Shutdown,
) -> Result<Log, Error> {
    let measured = self::metrics(metrics);
    let path = DataDirectory::log(directory.path());
    let config = SqliteConfig { metrics: measured.clone(), ..SqliteConfig::default() };
    let store: Arc<dyn EventStore> = Arc::new(SqliteEventStore::open(&path, runtime, config)?);
    Ok(over(store, settings, runtime, measured, shutdown))
}

pub(crate) fn metrics(registry: &mut Registry) -> Metrics {
    let measured = Metrics::default();
    measured.register(registry);
    measured
}

/// A log that is open, with the group commit in front of it.
pub(crate) fn over(
    store: Arc<dyn EventStore>,
    settings: &CommandDatabaseSettings,
    runtime: &Runtime,
    measured: Metrics,
    shutdown: &Shutdown,
) -> Log {
    let group = GroupCommit::start(runtime, store.clone(), GroupLimits::default(), measured);
    let keep = Duration::from_secs(settings.idempotency_hours.max(24) * 3600);
    runtime.spawn("idempotency expiry", expire(runtime.clone(), store.clone(), keep, shutdown.clone()));
    Log { store, group }
}

/// Where the log on PostgreSQL is.
pub(crate) fn postgres_config(settings: &CommandDatabaseSettings, authorities: Option<&Authorities>) -> PostgresConfig {
    PostgresConfig { tls: authorities.map(Authorities::client), ..PostgresConfig::new(settings.url.as_str()) }
}

/// The log on PostgreSQL; made, or brought up to this version, where `migrate` allows that.
pub(crate) async fn connect(
    settings: &CommandDatabaseSettings,
    authorities: Option<&Authorities>,
    migrate: bool,
    runtime: &Runtime,
    measured: &Metrics,
) -> Result<Arc<dyn EventStore>, Error> {
    let config = PostgresConfig { metrics: measured.clone(), ..postgres_config(settings, authorities) };
    let failed = |error| Error::unproven(tls::LOG, error);
    let opened = match PostgresEventStore::open(config.clone(), runtime).await {
        Err(command_database::Error::NotMigrated { .. }) if migrate => {
            tracing::info!("the Command Database is not of this version: migrating it");
            PostgresEventStore::migrate(&config).await.map_err(failed)?;
            PostgresEventStore::open(config, runtime).await
        }
        opened => opened,
    };
    Ok(Arc::new(opened.map_err(failed)?))
}

async fn expire(runtime: Runtime, store: Arc<dyn EventStore>, keep: Duration, shutdown: Shutdown) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            () = runtime.sleep(EXPIRY_INTERVAL) => {}
        }
        if let Err(error) = store.expire_idempotency(keep).await {
            tracing::warn!(error = %chain(&error), "expired idempotency keys could not be removed; trying again later");
        }
    }
}

/// Brings the log on PostgreSQL up to this version.
pub(crate) async fn migrate(
    settings: &CommandDatabaseSettings,
    authorities: Option<&Authorities>,
) -> Result<(), Error> {
    let migrated = PostgresEventStore::migrate(&postgres_config(settings, authorities)).await;
    migrated.map_err(|error| Error::unproven(tls::LOG, error))
}

/// The log on PostgreSQL, as it is verified and backed up.
pub(crate) fn scan(
    settings: &CommandDatabaseSettings,
    authorities: Option<&Authorities>,
    threads: &Handle,
) -> Result<PostgresLogScan, verify::Error> {
    let config = postgres_config(settings, authorities);
    PostgresLogScan::open(&config, threads)
        .map_err(|source| verify::Error::Log { log: "on PostgreSQL".to_owned(), source })
}
