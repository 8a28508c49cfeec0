//! Who may do what.

use query_database::{PostgresConfig, PostgresQueryDatabase, PostgresReader, RowReader, RowWriter};
use runtime::Runtime;

use crate::{
    server::{SERVER, migrated, open_at, sql},
    support::{commit, put, sales},
};

async fn tried(role: &str, url: &str, acts: &[(&str, bool)]) {
    let sql = sql(url).await;
    sql.batch_execute(&format!("SET ROLE {role}")).await.expect("a role of the server");
    for (act, allowed) in acts {
        let done = sql.batch_execute(&format!("BEGIN; {act}")).await;
        sql.batch_execute("ROLLBACK").await.expect("undone");
        let refused = done.as_ref().err().and_then(|error| error.code().map(|code| code.code().to_owned()));
        assert_eq!(refused.as_deref(), (!allowed).then_some("42501"), "{role}: {act}: {done:?}");
    }
}

#[tokio::test]
async fn a_handler_writes_rows_and_checkpoints_and_nothing_else() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    let acts = [
        ("UPDATE diptych_rows.checkpoints SET position = 2", true),
        ("DELETE FROM diptych_rows.rows_1", true),
        ("INSERT INTO diptych_rows.lineages VALUES (gen_random_uuid(), 7, '[]')", true),
        ("DELETE FROM diptych_rows.checkpoints", false),
        ("UPDATE diptych_rows.generations SET version = 2", false),
        ("UPDATE diptych_rows.lineages SET epochs = '[]'", false),
        ("UPDATE diptych_rows.meta SET format = 9", false),
        ("DROP TABLE diptych_rows.checkpoints", false),
        ("CREATE TABLE public.theirs ()", false),
        ("CREATE ROLE theirs", false),
    ];
    tried("diptych_handler", &url, &acts).await;
}

#[tokio::test]
async fn a_query_reads_what_is_served_and_changes_nothing() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    let acts = [
        ("SELECT * FROM diptych_rows.rows_1", true),
        ("SELECT * FROM diptych_rows.sales", true),
        ("SELECT * FROM diptych_rows.checkpoints, diptych_rows.lineages, diptych_rows.generations", true),
        ("UPDATE diptych_rows.checkpoints SET position = 2", false),
        ("SELECT FROM diptych_rows.checkpoints FOR UPDATE", false),
        ("INSERT INTO diptych_rows.rows_1 SELECT * FROM diptych_rows.rows_1", false),
        ("DELETE FROM diptych_rows.rows_1", false),
        ("TRUNCATE diptych_rows.rows_1", false),
        ("DROP TABLE diptych_rows.rows_1", false),
        ("CREATE TABLE diptych_rows.theirs ()", false),
        ("SELECT * FROM pg_authid", false),
        ("SELECT pg_read_file('PG_VERSION')", false),
    ];
    tried("diptych_query", &url, &acts).await;
}

#[tokio::test]
async fn whoever_logs_in_works_as_one_of_the_roles_and_must_be_a_member() {
    let url = migrated().await;
    let admin = sql(&url).await;
    let users = "CREATE ROLE anna LOGIN IN ROLE diptych_handler; CREATE ROLE otto LOGIN IN ROLE diptych_query;";
    admin.batch_execute(users).await.expect("made");
    let database = url.rsplit('/').next().expect("a database");
    let (anna, otto) = (SERVER.url_as("anna", database), SERVER.url_as("otto", database));
    let (runtime, config) = (Runtime::tokio(), PostgresConfig::default());
    // Whoever reads need not be allowed to write; a handler may read as well.
    let refused = PostgresQueryDatabase::open(&otto, &[], &runtime, &config).await;
    assert!(matches!(refused, Err(query_database::Error::Open { .. })), "{refused:?}");
    let writer = PostgresQueryDatabase::open(&anna, &[], &runtime, &config).await.expect("opened");
    let owned = writer.take(sales()).await.expect("taken");
    writer.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    let reader = PostgresReader::open(&[&otto], &runtime, &config).await.expect("opened");
    assert!(reader.point("sales", &crate::support::key("a")).await.expect("read").row.is_some());
    let owner =
        admin.query_one("SELECT tableowner FROM pg_tables WHERE tablename = 'rows_1'", &[]).await.expect("read");
    assert_eq!(owner.get::<_, String>(0), "diptych_handler", "the next handler is another user");
}

#[tokio::test]
async fn whoever_owns_the_database_and_may_make_roles_may_migrate() {
    let admin = sql(&SERVER.url("postgres")).await;
    let name = format!("moved_{}", std::process::id());
    admin.batch_execute("CREATE ROLE mover LOGIN CREATEROLE").await.expect("made");
    admin.batch_execute(&format!("CREATE DATABASE {name} OWNER mover")).await.expect("made");
    let config = PostgresConfig { role_prefix: "moved_".to_owned(), ..PostgresConfig::default() };
    PostgresQueryDatabase::migrate(&SERVER.url_as("mover", &name), &config).await.expect("made ready");
    admin.batch_execute("CREATE ROLE carl LOGIN IN ROLE moved_handler, moved_query").await.expect("made");
    let url = SERVER.url_as("carl", &name);
    let database = PostgresQueryDatabase::open(&url, &[], &Runtime::tokio(), &config).await.expect("opened");
    database.take(sales()).await.expect("taken");
    assert!(database.point("sales", &crate::support::key("a")).await.expect("read").row.is_none());
}

#[tokio::test]
async fn a_prefix_that_is_no_name_is_refused() {
    let long = "x".repeat(41);
    for prefix in ["a-b", "A", "1a", "pg_", "a\"; DROP ROLE postgres; --", &long] {
        let config = PostgresConfig { role_prefix: prefix.to_owned(), ..PostgresConfig::default() };
        let refused = PostgresQueryDatabase::migrate("postgres://localhost/none", &config).await;
        assert!(matches!(refused, Err(query_database::Error::Setting { .. })), "{prefix:?}: {refused:?}");
    }
}
