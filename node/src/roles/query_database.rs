//! Query Database: a SQLite file of rows and checkpoints, or a PostgreSQL.

use std::sync::Arc;

use http::Uri;
use prometheus_client::registry::Registry;
use query_database::{
    PostgresConfig, PostgresQueryDatabase, PostgresReader, RowReader, RowWriter, SqliteConfig, SqliteQueryDatabase,
};
use runtime::Runtime;
use tokio::runtime::Handle;
use wire::Authorities;

use crate::{DataDirectory, Error, settings::QueryDatabaseSettings, tls};

pub(crate) fn start(
    directory: &DataDirectory,
    runtime: &Runtime,
    metrics: &mut Registry,
) -> Result<Arc<SqliteQueryDatabase>, Error> {
    let path = DataDirectory::rows(directory.path());
    let database = SqliteQueryDatabase::open(&path, runtime, &SqliteConfig::default())?;
    database.register_metrics(metrics);
    Ok(Arc::new(database))
}

/// The rows on PostgreSQL, to fold into; made, or brought up to this version, where `migrate` allows that.
pub(crate) async fn connect_writing(
    settings: &QueryDatabaseSettings,
    authorities: Option<&Authorities>,
    migrate: bool,
    runtime: &Runtime,
) -> Result<Arc<dyn RowWriter>, Error> {
    let config = config(authorities);
    let failed = |error| Error::unproven(tls::ROWS, error);
    let opened = match PostgresQueryDatabase::open(&settings.url, &[], runtime, &config).await {
        Err(query_database::Error::NotMigrated { .. }) if migrate => {
            tracing::info!("the Query Database is not of this version: migrating it");
            PostgresQueryDatabase::migrate(&settings.url, &config).await.map_err(failed)?;
            PostgresQueryDatabase::open(&settings.url, &[], runtime, &config).await
        }
        opened => opened,
    };
    Ok(Arc::new(opened.map_err(failed)?))
}

/// The rows on PostgreSQL, to read: from its replicas, where there are any.
pub(crate) async fn connect_reading(
    settings: &QueryDatabaseSettings,
    authorities: Option<&Authorities>,
    runtime: &Runtime,
) -> Result<Arc<dyn RowReader>, Error> {
    let opened = PostgresReader::open(&read_urls(settings), runtime, &config(authorities)).await;
    Ok(Arc::new(opened.map_err(|error| Error::unproven(tls::ROWS, error))?))
}

/// The servers that rows are read from.
pub(crate) fn read_urls(settings: &QueryDatabaseSettings) -> Vec<&str> {
    let urls = settings.read_urls.split(',').map(str::trim).filter(|url| !url.is_empty());
    let mut urls: Vec<&str> = urls.collect();
    if urls.is_empty() {
        urls.push(&settings.url);
    }
    urls
}

/// Brings the rows on PostgreSQL up to this version.
pub(crate) async fn migrate(settings: &QueryDatabaseSettings, authorities: Option<&Authorities>) -> Result<(), Error> {
    let migrated = PostgresQueryDatabase::migrate(&settings.url, &config(authorities)).await;
    migrated.map_err(|error| Error::unproven(tls::ROWS, error))
}

fn config(authorities: Option<&Authorities>) -> PostgresConfig {
    PostgresConfig { tls: authorities.map(Authorities::client), ..PostgresConfig::default() }
}

/// The rows on PostgreSQL, as they are verified.
pub(crate) fn scan(
    settings: &QueryDatabaseSettings,
    authorities: Option<&Authorities>,
    threads: &Handle,
) -> Result<verify::Rows, verify::Error> {
    let name = name(&settings.url);
    verify::Rows::on_server(name.clone(), &settings.url, &config(authorities), threads)
        .map_err(|source| verify::Error::Rows { rows: name, source })
}

/// The address without what only this process is to know.
fn name(url: &str) -> String {
    let address = url.parse::<Uri>().ok();
    let known = address.as_ref().and_then(|address| {
        let port = address.port_u16().unwrap_or(5432);
        Some(format!("postgres://{}:{port}{}", address.host()?, address.path()))
    });
    known.unwrap_or_else(|| "the Query Database".to_owned())
}
