//! What is refused, and that nothing is written then.

use cluster::Postgres;
use command_database::{Error, EventStore, PostgresConfig, PostgresEventStore};
use futures_util::future::join;
use runtime::Runtime;

use super::given::{Database, append, config, connect, log, request};

async fn refusal_to_open(url: &str) -> Error {
    PostgresEventStore::open(config(url), &Runtime::tokio()).await.expect_err("a refusal")
}

async fn refusal_to_migrate(url: &str) -> Error {
    PostgresEventStore::migrate(&config(url)).await.expect_err("a refusal")
}

/// What there is in a database beside the system's own.
async fn made(database: &Database) -> Vec<String> {
    let statement = "SELECT nspname || '.' || coalesce(relname, '') FROM pg_namespace n LEFT JOIN pg_class c
        ON c.relnamespace = n.oid WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('information_schema')
        UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, current_database() || '_') ORDER BY 1";
    let rows = database.by_hand().await.query(statement, &[]).await.expect("the catalogue");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_server_that_could_lose_what_it_acknowledged_is_refused_by_the_settings_name() {
    for unsafe_setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let server = Postgres::new().setting(unsafe_setting, "off").start().expect("a server");
        let url = server.url("postgres");
        connect(&url).await;
        for error in [refusal_to_migrate(&url).await, refusal_to_open(&url).await] {
            let named = matches!(&error, Error::UnsafeSetting { setting, .. } if *setting == unsafe_setting);
            assert!(named, "{unsafe_setting}: {error}");
            assert!(error.to_string().ends_with(&format!("set {unsafe_setting}=on")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_setting_that_becomes_unsafe_later_is_seen_by_the_next_connection() {
    let database = Database::migrated().await;
    let statement = format!("ALTER DATABASE {} SET synchronous_commit = off", database.name);
    database.by_hand().await.batch_execute(&statement).await.expect("set");
    let error = refusal_to_open(&database.url).await;
    assert!(matches!(error, Error::UnsafeSetting { setting: "synchronous_commit", .. }), "{error}");
}

#[tokio::test]
async fn a_foreign_database_is_left_as_it_is() {
    let database = Database::empty().await;
    database.by_hand().await.batch_execute("CREATE TABLE customers (name text)").await.expect("a table");
    let before = made(&database).await;
    let error = refusal_to_migrate(&database.url).await;
    assert!(matches!(&error, Error::Foreign { found, .. } if found.contains("public.customers")), "{error}");
    let error = refusal_to_open(&database.url).await;
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!(made(&database).await, before);
}

#[tokio::test]
async fn a_database_with_another_mark_is_foreign() {
    let database = Database::migrated().await;
    database.by_hand().await.batch_execute("UPDATE diptych.meta SET mark = 'diptych rows'").await.expect("marked");
    for error in [refusal_to_migrate(&database.url).await, refusal_to_open(&database.url).await] {
        assert!(matches!(&error, Error::Foreign { found, .. } if found.contains("diptych rows")), "{error}");
    }
}

#[tokio::test]
async fn a_newer_log_is_used_only_if_it_lets_this_binary() {
    let database = Database::migrated().await;
    let by_hand = database.by_hand().await;
    by_hand.batch_execute("UPDATE diptych.meta SET format = 7, oldest_format = 1").await.expect("newer");
    append(&database.open().await, vec![request("a", "1").build()]).await;
    by_hand.batch_execute("UPDATE diptych.meta SET format = 7, oldest_format = 7").await.expect("newer");
    let before = made(&database).await;
    for error in [refusal_to_migrate(&database.url).await, refusal_to_open(&database.url).await] {
        assert!(matches!(error, Error::FormatTooNew { found: 7, format_max: 3, .. }), "{error}");
    }
    assert_eq!(made(&database).await, before);
}

#[tokio::test]
async fn an_empty_database_is_not_opened_but_migrated_however_many_do_it() {
    let database = Database::empty().await;
    let error = refusal_to_open(&database.url).await;
    let migrator = format!("`{}_migrator`", database.name);
    assert!(matches!(error, Error::NotMigrated { .. }) && error.to_string().contains(&migrator), "{error}");
    let config = config(&database.url);
    let (one, other) = join(PostgresEventStore::migrate(&config), PostgresEventStore::migrate(&config)).await;
    one.and(other).expect("migrated");
    let store = database.open().await;
    append(&store, vec![request("a", "1").build()]).await;
    let epochs = store.lineage().await.expect("the lineage");
    PostgresEventStore::migrate(&config).await.expect("nothing to do");
    assert_eq!(store.lineage().await.expect("the lineage"), epochs);
    assert_eq!(log(&store).await.len(), 1);
}

#[tokio::test]
async fn an_address_that_cannot_be_right_is_refused_without_its_password() {
    for url in ["postgres://me:secret@localhost", "postgres://me:secret@localhost:port/log", "secret"] {
        let error = PostgresEventStore::migrate(&PostgresConfig::new(url)).await.expect_err("no address");
        assert!(matches!(error, Error::Address { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
    let long = PostgresConfig { role_prefix: Some("p".repeat(55)), ..config("postgres://localhost/log") };
    let error = PostgresEventStore::migrate(&long).await.expect_err("too long");
    assert!(matches!(error, Error::Address { .. }), "{error}");
    let nobody = "postgres://me:secret@127.0.0.1:1/log";
    let error = refusal_to_open(nobody).await;
    assert!(matches!(error, Error::Connect { .. }) && error.is_retryable(), "{error}");
    assert!(!format!("{error} {error:?} {:?}", config(nobody)).contains("secret"), "{error}");
}
