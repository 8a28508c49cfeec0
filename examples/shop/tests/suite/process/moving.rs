//! From one machine to many: the log of a data directory goes on in PostgreSQL, with the same rows and the same memory.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use cluster::{NatsServer, Postgres, PostgresServer, Role, Service};

use super::{
    apart::pages,
    client::{Answer, Client},
    feed_over_http::{READ_MODELS, import},
    system::{System, assert_verified, shop},
};
use crate::which_feed;

fn all_pages(api: SocketAddr) -> Vec<Vec<String>> {
    READ_MODELS.iter().map(|(read_model, _)| pages(api, read_model)).collect()
}

pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Places an order under a key; the same one whenever it is called.
pub(super) fn place(api: SocketAddr, id: &str) -> Answer {
    let line = r#"{"line":1,"stock_code":"22041","quantity":2,"price":"2.100","time":"2009-12-01T07:45:00"}"#;
    let body = format!(r#"{{"customer":"13085","country":"France","lines":[{line}]}}"#);
    let key = format!("\"{id}\"");
    let path = format!("/commands/order/{id}/place");
    Client::new(api).post(&path, &[("Idempotency-Key", key.as_str())], &body).expect("answered")
}

pub(super) fn token(answer: &Answer) -> String {
    answer.header("consistency-token").expect("a token").to_owned()
}

/// The epoch in a token: base64 keeps three bytes in four letters, so that its first fifteen are these twenty.
pub(super) fn epoch(token: &str) -> &str {
    token.get("v1.".len().."v1.".len() + 20).expect("a token")
}

/// The databases and the queue, with nothing in them.
pub(super) struct Servers {
    pub(super) log: PostgresServer,
    pub(super) rows: PostgresServer,
    nats: NatsServer,
}

impl Servers {
    pub(super) fn start() -> Self {
        let start = || Postgres::new().start().expect("a PostgreSQL starts");
        Self { log: start(), rows: start(), nats: NatsServer::start().expect("a NATS starts") }
    }

    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("DIPTYCH__COMMAND_DATABASE__URL", self.log.url("postgres")),
            ("DIPTYCH__QUERY_DATABASE__URL", self.rows.url("postgres")),
            ("DIPTYCH__MESSAGE_QUEUE__SERVERS", self.nats.url()),
            ("DIPTYCH__MESSAGE_QUEUE__REPLICAS", "1".to_owned()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        shop().args(arguments).envs(self.settings()).output().expect("the shop runs")
    }
}

/// Every box a process.
pub(super) struct Apart {
    services: Vec<Service>,
    pub(super) api: SocketAddr,
    /// Its own addresses among them.
    settings: Vec<(String, String)>,
}

impl Apart {
    pub(super) fn start(settings: Vec<(String, String)>) -> Self {
        Self::start_from(Path::new(env!("CARGO_BIN_EXE_shop")), settings)
    }

    /// As a certain binary.
    pub(super) fn start_from(binary: &Path, settings: Vec<(String, String)>) -> Self {
        let roles = [Role::EventHandler, Role::CommandService, Role::QueryService, Role::ApiGateway];
        Self::start_roles(binary, settings, &roles)
    }

    /// Another way to the services of this one, by gateways and load balancers of a certain binary.
    pub(super) fn start_before(&self, binary: &Path) -> Self {
        Self::start_roles(binary, self.settings.clone(), &[Role::ApiGateway])
    }

    fn start_roles(binary: &Path, mut settings: Vec<(String, String)>, roles: &[Role]) -> Self {
        let mut services = Vec::new();
        let mut start = |role: Role, settings: &[(String, String)]| {
            let service = Service::start(binary, role, settings).expect("it starts");
            let address = service.address();
            services.push(service);
            address
        };
        for role in roles {
            let setting = match role {
                Role::CommandService => "DIPTYCH__API_GATEWAY__COMMAND_SERVICES",
                Role::QueryService => "DIPTYCH__API_GATEWAY__QUERY_SERVICES",
                Role::ApiGateway => "DIPTYCH__LOAD_BALANCER__API_GATEWAYS",
                Role::EventHandler | Role::LoadBalancer => "",
            };
            let address = start(*role, &settings);
            settings.extend(address.map(|address| (setting.to_owned(), address)));
        }
        let api = start(Role::LoadBalancer, &settings).expect("it has an address");
        services.iter_mut().for_each(|service| service.wait_until_ready().expect("it is ready"));
        Self { services, api: api.parse().expect("an address"), settings }
    }

    /// The one of a role.
    pub(super) fn service(&mut self, role: Role) -> &mut Service {
        self.services.iter_mut().find(|service| service.role() == role).expect("it runs")
    }

    /// Ends all of it in order, who asks others first.
    pub(super) fn stop(mut self) {
        self.services.iter_mut().rev().for_each(|service| service.stop().expect("it ran"));
    }

    /// Until a read model has what a token names.
    pub(super) fn wait_for(&self, token: &str, path: &str) {
        for _ in 0..600 {
            let headers = [("Consistency-Token", token), ("Prefer", "wait=5")];
            let answer = Client::new(self.api).get(path, &headers).expect("answered");
            if answer.status == 200 && answer.header("consistency-token").is_some() {
                return;
            }
            assert!([200, 404, 503].contains(&answer.status), "{} {}", answer.status, answer.body);
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{path} does not get there in a minute");
    }
}

/// A `move` that is killed after a while, or told to end.
fn interrupted(data: &str, url: &str, signal: &str, after: Duration) -> Option<i32> {
    let mut moving =
        shop().args(["move", "--from", data, "--to", url]).stderr(Stdio::piped()).spawn().expect("it runs");
    if signal == "INT" {
        // Once it copies, it listens. That nobody hears it any more does not end it.
        let mut line = String::new();
        let stderr = moving.stderr.take().expect("its talk");
        BufReader::new(stderr).read_line(&mut line).expect("a line");
    }
    std::thread::sleep(after);
    let id = moving.id().to_string();
    // It may be done.
    let _ = Command::new("kill").args([&format!("-{signal}"), &id]).output().expect("kill runs");
    moving.wait().expect("gone").code()
}

#[test]
fn the_moved_shop_has_the_same_rows_and_does_nothing_twice() {
    let _alone = super::alone();
    let feed = which_feed::feed();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let embedded = System::start(&data);
    let output = import(embedded.api, &feed.path, &directory.path().join("refused.csv"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let placed = place(embedded.api, "before");
    assert_eq!(placed.status, 201, "{}", placed.body);
    embedded.wait_until_caught_up();
    let expected = all_pages(embedded.api);
    let servers = Servers::start();
    let (from, url) = (data.display().to_string(), servers.log.url("postgres"));

    let output = shop().args(["move", "--from", &from, "--to", &url]).output().expect("it runs");
    assert!(
        output.status.code() == Some(1) && said(&output).contains("in use by another process"),
        "{}",
        said(&output)
    );
    assert_eq!(embedded.stop(), Some(0));
    let output = shop().args(["move", "--from", &from, "--to", &url, "--dry-run"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = servers.run(&["verify"]);
    assert!(said(&output).contains("no log"), "nothing was written: {}", said(&output));

    let stopped = interrupted(&from, &url, "INT", Duration::ZERO);
    assert_eq!(stopped, Some(130), "Ctrl-C ends it in order");
    let output = servers.run(&["verify"]);
    assert!(output.status.code() == Some(1) && said(&output).contains("is not whole"), "{}", said(&output));

    // As a crash between the two last steps leaves it, and with more to do than after that.
    let epoch_there = "00000000-0000-7000-8000-000000000001";
    let to = format!("postgres://127.0.0.1:{}/postgres", servers.log.port());
    let seal = format!("format 2\noldest-binary 0.1.0\napplication shop\nmoved-to {to}\nepoch {epoch_there}\n");
    fs::write(data.join("FORMAT"), seal).expect("written");
    let output =
        shop().args(["move", "--from", &from, "--to", &servers.log.url("template1")]).output().expect("it runs");
    assert!(output.status.code() == Some(1) && said(&output).contains(&to), "{}", said(&output));

    // Killed again and again, each time a little further on.
    let mut kills = 0;
    while interrupted(&from, &url, "KILL", Duration::from_millis(40 * kills)).is_none() && kills < 12 {
        kills += 1;
    }
    let output = shop().args(["move", "--from", &from, "--to", &url]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    println!("killed {kills} times before: {}", said(&output));
    let output = shop().args(["move", "--from", &from, "--to", &url]).output().expect("it runs");
    assert!(output.status.code() == Some(0) && said(&output).contains("already"), "{}", said(&output));

    // The source is sealed, says where its log is, and is as it was.
    let output = shop().args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", &from]).output();
    let output = output.expect("it runs");
    assert!(
        output.status.code() == Some(1) && said(&output).contains(&format!(":{}/", servers.log.port())),
        "{}",
        said(&output)
    );
    assert_verified(&data);

    let output = servers.run(&["migrate"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut settings = servers.settings();
    let key = data.join("page-token.key").display().to_string();
    settings.push(("DIPTYCH__QUERY_SERVICE__PAGE_TOKEN_KEY_FILE".to_owned(), key));
    let apart = Apart::start(settings);
    let before = token(&placed);
    for (read_model, _) in READ_MODELS {
        apart.wait_for(&before, &format!("/queries/{read_model}?page_size=1"));
    }
    assert_eq!(all_pages(apart.api), expected);

    let again = place(apart.api, "before");
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")), "{}", again.body);
    assert_eq!(again.body, placed.body);
    let after = place(apart.api, "after");
    assert!(after.status == 201 && after.header("idempotency-replayed").is_none(), "{}", after.body);
    assert_ne!(epoch(&token(&after)), epoch(&before));
    assert_eq!(epoch(&token(&after)), "AAAAAAAAcACAAAAAAAAA", "the epoch is that of the seal");
    apart.wait_for(&token(&after), "/queries/order_summary/after");

    // Beside the running system.
    let output = servers.run(&["verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = servers.run(&["verify", "--data", &from]);
    assert_eq!(output.status.code(), Some(0), "a directory that is named is meant: {}", said(&output));
}

#[test]
fn what_a_log_cannot_be_moved_to_is_refused_by_name() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);
    assert_eq!(place(system.api, "one").status, 201);
    assert_eq!(system.stop(), Some(0));
    let from = data.display().to_string();
    let server = Postgres::new().start().expect("a PostgreSQL starts");
    let moved = |from: &str, to: &str| shop().args(["move", "--from", from, "--to", to]).output().expect("it runs");
    for (output, code, says) in [
        (moved(&from, &server.url("nowhere")), 4, "see that the server runs, that the database exists"),
        (moved(&from, "postgres://shop@db.example/log"), 2, "names db.example"),
        (moved("/nonexistent", &server.url("postgres")), 1, "there is no directory /nonexistent"),
        (shop().args(["move", "--from", &from]).output().expect("it runs"), 2, "command_database.url"),
    ] {
        assert!(output.status.code() == Some(code) && said(&output).contains(says), "{says}: {}", said(&output));
    }
    // A log that somebody uses already: the first directory's is not touched by the second one's.
    assert_eq!(moved(&from, &server.url("postgres")).status.code(), Some(0));
    let other = directory.path().join("other");
    assert_eq!(System::start(&other).stop(), Some(0));
    let output = moved(&other.display().to_string(), &server.url("postgres"));
    assert!(output.status.code() == Some(1) && said(&output).contains("is not empty"), "{}", said(&output));
    assert_eq!(System::start(&other).stop(), Some(0));
}
