//! What is looked at before a server and a database are trusted with a log.

use tokio_postgres::Client;

use super::{
    config::Address,
    failure::{Failure, Result},
};
use crate::Error;

/// Tells a log from other databases.
const MARK: &str = "diptych log";
/// Of the tables in `migrations/`.
pub(super) const FORMAT: u32 = 3;

const SETTINGS: &str =
    "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
    pg_is_in_recovery()";

/// Nothing can be appended there, and nobody there says whose timeline it will be.
#[derive(Debug, thiserror::Error)]
#[error("the server is a standby, or still recovers: only a primary has the log")]
struct InRecovery;

/// Refuses a server that could lose what it has acknowledged, or that only follows another.
pub(super) async fn settings(client: &Client, address: &Address) -> Result<()> {
    let row = client.query_one(SETTINGS, &[]).await?;
    for (column, setting) in ["fsync", "full_page_writes", "synchronous_commit"].into_iter().enumerate() {
        let found: String = row.try_get(column)?;
        // Of the stronger and weaker kinds of synchronous commit, each waits for the server's own disk at least.
        if found == "off" {
            let log = address.log.clone();
            return Err(Failure::Known(Error::UnsafeSetting { log, setting, found, wanted: "on" }));
        }
    }
    if row.try_get(3)? {
        return Err(Failure::Unconnected(InRecovery.into()));
    }
    Ok(())
}

/// What a database is, as far as a look at its catalogue shows.
pub(super) enum Found {
    /// Nothing is in it.
    Empty,
    /// A log of a format that this binary may use, which may be a newer one than it would make.
    Log { format: u32 },
}

/// Looks at a database. Refuses one that is something else, and a log that only a newer binary may use. Writes nothing.
pub(super) async fn look(client: &Client, address: &Address) -> Result<Found> {
    let foreign = |found: String| Failure::Known(Error::Foreign { log: address.log.clone(), found });
    let marked: bool = client.query_one("SELECT to_regclass('diptych.meta') IS NOT NULL", &[]).await?.try_get(0)?;
    if !marked {
        let other = client.query_opt(OTHER_RELATION, &[]).await?;
        return match other {
            None => Ok(Found::Empty),
            Some(row) => Err(foreign(format!("it has {} and no mark", row.try_get::<_, String>(0)?))),
        };
    }
    let row = client.query_opt("SELECT mark, format, oldest_format FROM diptych.meta", &[]).await?;
    let Some(row) = row else { return Err(foreign("its mark is missing".to_owned())) };
    let mark: String = row.try_get(0)?;
    if mark != MARK {
        return Err(foreign(format!("its mark is {mark:?}")));
    }
    let (format, oldest) = (row.try_get::<_, i32>(1)?.cast_unsigned(), row.try_get::<_, i32>(2)?.cast_unsigned());
    if oldest > FORMAT {
        let (log, found) = (address.log.clone(), format);
        return Err(Failure::Known(Error::FormatTooNew { log, found, format_max: FORMAT }));
    }
    Ok(Found::Log { format })
}

/// Anything that somebody made, other than an extension; the migrations' own list may be there alone after a crash.
const OTHER_RELATION: &str = "SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
        AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND (n.nspname, c.relname) <> ('diptych', 'migrations')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.oid LIMIT 1";

/// Refuses a database that is no log this binary can use as it is.
pub(super) async fn mark(client: &Client, address: &Address) -> Result<()> {
    let found = match look(client, address).await? {
        Found::Log { format } if format >= FORMAT => return whole(client, address).await,
        Found::Log { format } => format!("a log of format {format}"),
        Found::Empty => "no log".to_owned(),
    };
    Err(Failure::Known(Error::NotMigrated { log: address.log.clone(), found, migrator: address.migrator() }))
}

/// Refuses a log into which a copy is being written.
async fn whole(client: &Client, address: &Address) -> Result<()> {
    let is_copied: bool = client.query_one("SELECT EXISTS (SELECT FROM diptych.copying)", &[]).await?.try_get(0)?;
    if is_copied { Err(Failure::Known(Error::Unfinished { log: address.log.clone() })) } else { Ok(()) }
}
