//! A connection by itself, for a thread that has nothing else to do: whoever verifies or copies a log waits for each answer.

use deadpool_postgres::Connect;
use tokio::runtime::Handle;
use tokio_postgres::{Client, Row, types::ToSql};

use super::{
    check,
    config::Address,
    driver::{Driver, Unreplicated},
    failure::{Failure, Result},
    migrate,
};
use crate::Error;

/// What a connection may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read: the server itself refuses the rest.
    Read,
    /// Read and write.
    Write,
}

pub(super) struct Alone {
    client: Client,
    threads: Handle,
    address: Address,
}

impl Alone {
    /// Connects to a database, whatever is in it.
    pub(super) fn connect(address: Address, access: Access, threads: &Handle) -> Result<Self> {
        let mut driver = address.driver.clone();
        if access == Access::Read {
            let options = driver.get_options().unwrap_or_default();
            driver.options(format!("{options} -c default_transaction_read_only=on"));
        }
        let connecting = Driver { tls: address.tls.clone(), heard: Unreplicated::default() };
        let connected = threads.block_on(connecting.connect(&driver));
        // Its task ends with the client.
        let (client, _) = connected.map_err(|error| Failure::Unconnected(error.into()))?;
        Ok(Self { client, threads: threads.clone(), address })
    }

    /// Refuses a database that is no log which this binary can read as it is.
    pub(super) fn check_mark(&self) -> Result<()> {
        self.threads.block_on(check::mark(&self.client, &self.address))
    }

    pub(super) fn log(&self) -> &str {
        &self.address.log
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// What is in the database, after a look at its server's settings.
    pub(super) fn look(&self) -> Result<check::Found> {
        self.threads.block_on(async {
            check::settings(&self.client, &self.address).await?;
            check::look(&self.client, &self.address).await
        })
    }

    /// Brings the log to this binary's format, on a connection of its own.
    pub(super) fn migrate(&self) -> Result<()> {
        self.threads.block_on(migrate::migrate(&self.address))
    }

    pub(super) fn query(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        Ok(self.threads.block_on(self.client.query(statement, parameters))?)
    }

    /// The one row of a statement that always has one.
    pub(super) fn query_one(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        Ok(self.threads.block_on(self.client.query_one(statement, parameters))?)
    }

    pub(super) fn execute(&self, statements: &str) -> Result<()> {
        Ok(self.threads.block_on(self.client.batch_execute(statements))?)
    }

    /// A lost connection is told from a log that cannot be read.
    pub(super) fn reading(&self, failure: Failure) -> Error {
        let is_lost = failure.is_of_the_connection();
        if is_lost { failure.while_connecting(self.log()) } else { failure.while_reading(self.log()) }
    }
}
