use cluster::{Authority, Postgres, PostgresServer};
use futures_util::future::BoxFuture;
use runtime::{Engine, Leave, WorkerQueue};
use wire::PemFile;

use super::*;

/// A runtime whose wall clock is off.
struct Shifted(Runtime, SignedDuration);

impl Engine for Shifted {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wall_clock(&self) -> Timestamp {
        self.0.wall_clock() + self.1
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(span)
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        drop(self.0.spawn(name, future));
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.0.fill_random(bytes);
    }

    fn leave_to_block(&self) -> Option<Leave> {
        self.0.leave_to_block()
    }

    fn yield_thread(&self) {
        self.0.yield_thread();
    }

    fn worker(&self, _name: &str) -> Box<dyn WorkerQueue> {
        unreachable!("nobody who looks at a clock has blocking work")
    }
}

fn shifted(seconds: i64) -> Runtime {
    Runtime::new(Shifted(Runtime::tokio(), SignedDuration::from_secs(seconds)))
}

/// A database that one role works on, at these addresses.
fn database(urls: &[String], authorities: Option<Authorities>) -> Database {
    let mut settings = Settings::default();
    settings.query_database.read_urls = urls.join(",");
    let databases = tls::Databases { log: None, rows: authorities };
    let mut of_role = Database::of(&settings, &[Role::QueryService], &databases);
    assert_eq!(of_role.iter().map(Database::name).collect::<Vec<_>>(), ["query-database"]);
    of_role.remove(0)
}

/// A user who may connect, and nothing else.
async fn stranger(server: &PostgresServer) -> String {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls).await.expect("connected");
    let made = async move { client.batch_execute("CREATE ROLE stranger LOGIN").await };
    join(made, connection).await.0.expect("made");
    server.url_as("stranger", "postgres")
}

fn seconds(database: &Database) -> f64 {
    database.skew().get().expect("it has told").as_secs_f64()
}

#[test]
fn a_clock_is_told_in_the_middle_of_a_round_trip_that_was_short() {
    let at = |milliseconds| Timestamp::from_millisecond(milliseconds).expect("a time");
    for (theirs, took, ahead) in
        [(10_000, 0, Some(0)), (10_000, 800, Some(400)), (9_000, 800, Some(-600)), (10_000, 1_001, None)]
    {
        let told = difference(at(theirs), at(10_000), Duration::from_millis(took)).ok();
        assert_eq!(told.map(|told| told.as_millis()), ahead, "{theirs} after {took}");
    }
}

#[tokio::test]
async fn a_databases_clock_is_compared_with_ours_by_whoever_may_connect() {
    let server = Postgres::new().start().expect("a PostgreSQL");
    let url = stranger(&server).await;
    for ours in [0, 3600, -30, 5] {
        let database = database(std::slice::from_ref(&url), None);
        assert!(database.look(&shifted(ours)).await);
        let ahead = seconds(&database);
        assert!((ahead + ours as f64).abs() < 0.5, "ours is {ours} s ahead, and theirs seems to be {ahead}");
    }
}

#[tokio::test]
async fn a_database_that_is_gone_keeps_what_was_known_and_says_nothing_where_nothing_was() {
    let mut server = Postgres::new().start().expect("a PostgreSQL");
    let database = |urls: &[String]| database(urls, None);
    let known = database(&[server.url("postgres")]);
    assert!(known.look(&shifted(-20)).await);
    server.kill().expect("it ran");
    assert!(!known.look(&shifted(0)).await);
    assert!((seconds(&known) - 20.0).abs() < 0.5, "{known:?}");
    let unknown = database(&[server.url("postgres")]);
    assert!(!unknown.look(&shifted(0)).await);
    assert_eq!(unknown.skew().get(), None);
    // One of several is enough.
    let other = Postgres::new().start().expect("another");
    let both = database(&[server.url("postgres"), other.url("postgres")]);
    assert!(both.look(&shifted(40)).await);
    assert!((seconds(&both) + 40.0).abs() < 0.5, "{both:?}");
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_is_not_asked() {
    let (ours, other) = (Authority::new("ours").expect("one"), Authority::new("another").expect("one"));
    let issued = ours.issue(&["127.0.0.1"]).expect("issued");
    let server = Postgres::new().tls(&issued).start().expect("a PostgreSQL");
    let plain = Postgres::new().start().expect("another");
    for (server, authority, told) in [(&server, &ours, true), (&server, &other, false), (&plain, &ours, false)] {
        let path = authority.certificate().to_owned();
        let authorities = Authorities::read(PemFile { setting: tls::ROWS, path }).expect("a certificate");
        let database = database(&[server.url("postgres") + "?sslmode=disable"], Some(authorities));
        assert_eq!(database.look(&shifted(0)).await, told);
    }
}

#[test]
fn each_role_looks_at_the_servers_that_it_works_on() {
    let mut settings = Settings::default();
    settings.command_database.url = "postgres://log/log".to_owned();
    settings.query_database.url = "postgres://rows/rows".to_owned();
    let looked_at = |settings: &Settings, role| {
        let all = Database::of(settings, &[role], &tls::Databases::default());
        all.into_iter().flat_map(|database| database.urls).collect::<Vec<_>>().join(" ")
    };
    for (role, urls) in [
        (Role::LoadBalancer, ""),
        (Role::ApiGateway, ""),
        (Role::CommandService, "postgres://log/log"),
        (Role::EventHandler, "postgres://log/log postgres://rows/rows"),
        (Role::QueryService, "postgres://rows/rows"),
    ] {
        assert_eq!(looked_at(&settings, role), urls, "{role:?}");
    }
    settings.query_database.read_urls = "postgres://one/rows, postgres://two/rows".to_owned();
    assert_eq!(looked_at(&settings, Role::QueryService), "postgres://one/rows postgres://two/rows");
    assert_eq!(looked_at(&settings, Role::EventHandler), "postgres://log/log postgres://rows/rows");
}
