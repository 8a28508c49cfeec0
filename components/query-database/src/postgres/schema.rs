//! What is in the database before any generation is: made by a migration, and looked at before anything is asked.

use futures_util::future::{BoxFuture, FutureExt};
use tokio_postgres::{Client, Config, Error as PgError, NoTls, error::SqlState};

use super::{
    config::{self, Role},
    connection::Connection,
    trouble::Trouble,
};
use crate::{Error, PostgresConfig};

/// Everything of ours is in this schema, so that nothing depends on anybody's search path.
pub(super) const SCHEMA: &str = "diptych_rows";

/// What this binary knows: the steps of [`steps`].
const FORMAT: i32 = 1;
/// The oldest format whose binaries may use what this one makes.
const FORMAT_LEAST: i32 = 1;
const MARK: &str = "diptych rows";

/// Two advisory locks of this database, each held to the end of its transaction.
const MIGRATION_LOCK: i64 = 0x4470_5277_0000_0001;
/// Whoever makes or switches generations, or stores a lineage, does so alone.
pub(super) const GENERATIONS_LOCK: i64 = 0x4470_5277_0000_0002;

/// One step for each format, from nothing on.
///
/// A checkpoint is apart from what describes its generation, since every commit rewrites its row: it stays small, and half of
/// each page stays free for its next versions.
fn steps(handler: &str, query: &str) -> [String; FORMAT as usize] {
    [format!(
        "CREATE SCHEMA {SCHEMA};
         CREATE TABLE {SCHEMA}.meta (mark text NOT NULL, format integer NOT NULL, format_least integer NOT NULL);
         CREATE TABLE {SCHEMA}.generations (
             generation bigint PRIMARY KEY,
             id uuid NOT NULL,
             read_model text NOT NULL,
             version bigint NOT NULL,
             shape bytea NOT NULL,
             definition text NOT NULL
         );
         CREATE TABLE {SCHEMA}.lineages (
             id uuid PRIMARY KEY,
             number bigint NOT NULL UNIQUE,
             epochs text NOT NULL
         );
         CREATE TABLE {SCHEMA}.checkpoints (
             generation bigint PRIMARY KEY REFERENCES {SCHEMA}.generations,
             id uuid NOT NULL,
             read_model text NOT NULL,
             serving boolean NOT NULL,
             owner bigint NOT NULL,
             position bigint,
             hash bytea NOT NULL,
             lineage uuid REFERENCES {SCHEMA}.lineages,
             head bigint,
             head_seen_at timestamptz NOT NULL,
             held text,
             forked uuid REFERENCES {SCHEMA}.lineages
         ) WITH (fillfactor = 50);
         CREATE UNIQUE INDEX checkpoints_serving ON {SCHEMA}.checkpoints (read_model) WHERE serving;
         GRANT USAGE ON SCHEMA {SCHEMA} TO {handler}, {query};
         GRANT CREATE ON SCHEMA {SCHEMA} TO {handler};
         GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {handler}, {query};
         GRANT INSERT ON {SCHEMA}.generations, {SCHEMA}.lineages, {SCHEMA}.checkpoints TO {handler};
         GRANT UPDATE ON {SCHEMA}.checkpoints TO {handler};
         ALTER DEFAULT PRIVILEGES FOR ROLE {handler} IN SCHEMA {SCHEMA} GRANT SELECT ON TABLES TO {query};
         INSERT INTO {SCHEMA}.meta VALUES ('{MARK}', 0, 0);"
    )]
}

/// Makes what the database at `url` lacks, as whoever connects, in one transaction.
///
/// One after the other where several are at it: the lock is the transaction's, on a connection that is nobody else's.
pub(super) async fn migrate(url: &str, settings: &PostgresConfig) -> Result<(), Error> {
    let mut address = settings.parse(url)?;
    let database = config::name(&address);
    let (handler, query) = (settings.role(Role::Handler)?, settings.role(Role::Query)?);
    address.connect_timeout(settings.connect_duration_max).application_name("diptych-query-database migration");
    address.options("-c lock_timeout=60000 -c statement_timeout=600000 -c search_path=pg_catalog");
    let opening = |source: PgError| Error::Open { database: database.clone(), source: source.into() };
    let (mut client, connection) = connect(&address, settings).await.map_err(opening)?;
    // Both end together, with this call.
    let migrated = async move { migrate_on(&mut client, &handler, &query).await };
    let served = async { connection.await.map_err(Trouble::from) };
    let (migrated, _) = futures_util::future::join(migrated, served).await;
    migrated.map_err(|trouble| named(trouble, &database).committing(&database))
}

async fn connect(
    address: &Config,
    settings: &PostgresConfig,
) -> Result<(Client, BoxFuture<'static, Result<(), PgError>>), PgError> {
    Ok(match settings.tls() {
        Some(tls) => {
            let (client, connection) = address.connect(tls).await?;
            (client, connection.boxed())
        }
        None => {
            let (client, connection) = address.connect(NoTls).await?;
            (client, connection.boxed())
        }
    })
}

async fn migrate_on(client: &mut Client, handler: &str, query: &str) -> Result<(), Trouble> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    let there = transaction.query_one(&format!("SELECT to_regclass('{SCHEMA}.meta') IS NOT NULL"), &[]).await?;
    let from = if there.try_get(0)? {
        let row = transaction.query_one(&format!("SELECT mark, format, format_least FROM {SCHEMA}.meta"), &[]).await?;
        judge(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)?
    } else {
        refuse_foreign(&transaction).await?;
        transaction.batch_execute(&roles(handler, query)).await?;
        0
    };
    if from >= FORMAT {
        // Also when it is of a later format that this binary may use.
        return Ok(transaction.rollback().await?);
    }
    for step in steps(handler, query).iter().skip(usize::try_from(from).unwrap_or(0)) {
        transaction.batch_execute(step).await?;
    }
    let noted = format!("UPDATE {SCHEMA}.meta SET format = $1, format_least = $2");
    transaction.execute(&noted, &[&FORMAT, &FORMAT_LEAST]).await?;
    Ok(transaction.commit().await?)
}

/// Roles are the whole server's: another database of it may have made them, or make them right now. Nobody logs in as one.
fn roles(handler: &str, query: &str) -> String {
    let role = |role: &str| {
        format!(
            "DO $$ BEGIN
                 IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role} NOLOGIN; END IF;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
             END $$;"
        )
    };
    // Whoever migrates sets what is granted on the tables that the handlers will make, and must be one of them for that. A
    // handler owns what queries read, so that it may as well read as they do.
    let member = |member: &str, role: &str| {
        format!(
            "DO $$ BEGIN
                 IF NOT pg_has_role({member}, '{role}', 'MEMBER') THEN
                     EXECUTE format('GRANT {role} TO %I', {member});
                 END IF;
             EXCEPTION WHEN unique_violation THEN NULL;
             END $$;"
        )
    };
    let members = member("current_user", handler) + &member(&format!("'{handler}'"), query);
    role(handler) + &role(query) + &members
}

/// An empty database is taken; one in which somebody has anything is theirs.
async fn refuse_foreign(transaction: &tokio_postgres::Transaction<'_>) -> Result<(), Trouble> {
    let theirs = format!(
        "SELECT found FROM (
             SELECT format('the schema %s', nspname) AS found FROM pg_namespace WHERE nspname = '{SCHEMA}'
             UNION ALL
             SELECT format('the relation %s.%s', n.nspname, c.relname)
             FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
             AND NOT EXISTS (
                 SELECT FROM pg_depend AS d
                 WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
             )
         ) AS theirs ORDER BY found LIMIT 1"
    );
    match transaction.query_opt(&theirs, &[]).await? {
        Some(row) => Err(Error::ForeignDatabase { database: String::new(), found: row.try_get(0)? }.into()),
        None => Ok(()),
    }
}

/// The format, if it is one that this binary may use.
fn judge(mark: &str, format: i32, least: i32) -> Result<i32, Error> {
    let database = String::new();
    if mark != MARK {
        let found = format!("the mark {mark:?} in {SCHEMA}.meta");
        return Err(Error::ForeignDatabase { database, found });
    }
    if format > FORMAT && least > FORMAT {
        return Err(Error::DatabaseFormat { database, found: format, least, known: FORMAT });
    }
    Ok(format)
}

/// Looks whether the database is one that this binary can use.
pub(super) async fn inspect(connection: &Connection) -> Result<(), Trouble> {
    let read = connection.query_one(&format!("SELECT mark, format, format_least FROM {SCHEMA}.meta"), &[]).await;
    let row = match read.map_err(Trouble::from) {
        Err(trouble) if is_absent(&trouble) => return Err(Error::NotMigrated { database: String::new() }.into()),
        read => read?,
    };
    match judge(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)? {
        format if format < FORMAT => Err(Error::NotMigrated { database: String::new() }.into()),
        _ => Ok(()),
    }
}

fn is_absent(trouble: &Trouble) -> bool {
    matches!(trouble.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME))
}

/// Puts the database's name into what was found out on its connection, where nobody knows it.
pub(super) fn named(trouble: Trouble, name: &str) -> Trouble {
    let name = name.to_owned();
    match trouble {
        Trouble::Known(Error::ForeignDatabase { found, .. }) => Error::ForeignDatabase { database: name, found }.into(),
        Trouble::Known(Error::NotMigrated { .. }) => Error::NotMigrated { database: name }.into(),
        Trouble::Known(Error::DatabaseFormat { found, least, known, .. }) => {
            Error::DatabaseFormat { database: name, found, least, known }.into()
        }
        trouble => trouble,
    }
}
