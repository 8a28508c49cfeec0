//! Makes the tables, roles and rights of a log, or brings them to this binary's format.

use deadpool_postgres::Connect;
use refinery::Runner;
use tokio_postgres::Client;

use super::{
    check::{self, FORMAT, Found},
    config::Address,
    driver::{Driver, Unreplicated},
    failure::{Failure, Result},
};

mod embedded {
    refinery::embed_migrations!("src/postgres/migrations");
}

/// "diptych" as a number: who migrates one log of a server holds this meanwhile.
const LOCK: i64 = 0x0064_6970_7479_6368;

/// On a connection of its own, directly to the server: the lock belongs to the session.
pub(super) async fn migrate(address: &Address) -> Result<()> {
    let mut driver = address.driver.clone();
    // An index over a large log takes its time.
    let options = driver.get_options().unwrap_or_default();
    let options =
        format!("{options} -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0");
    driver.options(options).application_name("diptych-migration");
    let connecting = Driver { tls: address.tls.clone(), heard: Unreplicated::default() };
    let connected = connecting.connect(&driver).await.map_err(|error| Failure::Unconnected(error.into()));
    let (mut client, task) = connected?;
    let migrated = locked(&mut client, address).await;
    // The session ends, and its lock with it.
    drop(client);
    let _ = task.await;
    migrated
}

async fn locked(client: &mut Client, address: &Address) -> Result<()> {
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    check::settings(client, address).await?;
    match check::look(client, address).await? {
        Found::Log { format } if format >= FORMAT => return Ok(()),
        Found::Log { .. } | Found::Empty => {}
    }
    client.execute("SELECT set_config('diptych.role_prefix', $1, false)", &[&address.role_prefix]).await?;
    client.batch_execute(include_str!("roles.sql")).await?;
    let role: String = client.query_one("SELECT quote_ident($1)", &[&address.migrator()]).await?.try_get(0)?;
    client.batch_execute(&format!("SET ROLE {role}")).await?;
    runner().run_async(client).await.map_err(|error| Failure::Refused(error.into()))?;
    Ok(())
}

/// All migrations that are due in one transaction: after a crash there is the old log or the new one.
fn runner() -> Runner {
    let mut runner = embedded::migrations::runner().set_grouped(true);
    runner.set_migration_table_name("diptych.migrations");
    runner
}
