//! The users of PostgreSQL that `deploy/postgres` makes: each box logs in as its own, and can do its part.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use cluster::{NatsServer, Postgres, PostgresServer, Role, Service};

use super::{client::Client, system::shop};

const LOG: &str = include_str!("../../../../../deploy/postgres/command-database.sql");
const ROWS: &str = include_str!("../../../../../deploy/postgres/query-database.sql");
const ORDER: &str =
    r#"{"country":"France","lines":[{"stock_code":"tea-100","quantity":2,"price":"4.500","time":"2026-11-23T10:00"}]}"#;

/// What it says, without headers.
pub(super) fn psql(server: &PostgresServer, database: &str, arguments: &[&str]) -> String {
    let mut psql = Command::new("psql");
    psql.args([
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--set",
        "ON_ERROR_STOP=1",
        "--dbname",
        &server.url(database),
    ]);
    let output = psql.args(arguments).output().expect("psql runs: it comes with PostgreSQL's package");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A server with one database, in which these users were made.
fn server_with(database: &str, users: &str, folder: &Path) -> PostgresServer {
    let server = Postgres::new().start().expect("a PostgreSQL");
    psql(&server, "postgres", &["--command", &format!("CREATE DATABASE {database}")]);
    let script = folder.join(database);
    fs::write(&script, users).expect("written");
    psql(&server, database, &["--file", script.to_str().expect("a path of text")]);
    server
}

#[test]
fn each_box_does_its_part_as_the_user_that_is_made_for_it() {
    let _alone = super::alone();
    let folder = tempfile::tempdir().expect("a directory");
    let (log, rows) = (server_with("log", LOG, folder.path()), server_with("rows", ROWS, folder.path()));
    let nats = NatsServer::start().expect("a NATS");
    let (log_url, rows_url) = ("DIPTYCH__COMMAND_DATABASE__URL", "DIPTYCH__QUERY_DATABASE__URL");
    let migrated = shop().arg("migrate").env(log_url, log.url("log")).env(rows_url, rows.url("rows")).output();
    let migrated = migrated.expect("the shop runs");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));

    let start = |role: Role, settings: &[(&str, String)]| {
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Service::start(Path::new(env!("CARGO_BIN_EXE_shop")), role, &settings).expect("it starts")
    };
    let queue = [
        ("DIPTYCH__MESSAGE_QUEUE__SERVERS", nats.url()),
        ("DIPTYCH__MESSAGE_QUEUE__REPLICAS", "1".to_owned()),
        // That is done, and by somebody else.
        ("DIPTYCH__MIGRATE_AT_START", "false".to_owned()),
    ];
    let as_user = |name, server: &PostgresServer, database: &str, user: &str| [(name, server.url_as(user, database))];
    let commands =
        start(Role::CommandService, &[queue.as_slice(), &as_user(log_url, &log, "log", "command_service")].concat());
    let handler = start(
        Role::EventHandler,
        &[
            queue.as_slice(),
            &as_user(log_url, &log, "log", "event_handler"),
            &as_user(rows_url, &rows, "rows", "event_handler"),
        ]
        .concat(),
    );
    let key = [("DIPTYCH__QUERY_SERVICE__PAGE_TOKEN_KEY", "5e".repeat(32))];
    let queries =
        start(Role::QueryService, &[key.as_slice(), &as_user(rows_url, &rows, "rows", "query_service")].concat());
    let gateway = start(
        Role::ApiGateway,
        &[
            ("DIPTYCH__API_GATEWAY__COMMAND_SERVICES", commands.address().expect("it is called")),
            ("DIPTYCH__API_GATEWAY__QUERY_SERVICES", queries.address().expect("it is called")),
        ],
    );
    let gateways = [("DIPTYCH__LOAD_BALANCER__API_GATEWAYS", gateway.address().expect("it is called"))];
    let front = start(Role::LoadBalancer, &gateways);
    let api: SocketAddr = front.address().expect("it is called").parse().expect("an address");
    let mut all = [commands, handler, queries, gateway, front];
    for service in &mut all {
        service.wait_until_ready().expect("it can do its part");
    }

    let mut client = Client::new(api);
    let placed = client.post("/commands/order/o-1/place", &[], ORDER).expect("answered");
    assert_eq!(placed.status, 201, "{}", placed.body);
    let began = std::time::Instant::now();
    while client.get("/queries/order_summary/o-1", &[]).expect("answered").status != 200 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "the row does not come");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
