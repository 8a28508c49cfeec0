//! Every box a process of its own, as far as sockets go: roles that know of each other only by addresses, on PostgreSQL and
//! NATS. What was acknowledged is there once, whoever ends or is killed meanwhile.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use cluster::{NatsServer, Postgres, PostgresServer};
use command_database::{EventStore, PostgresConfig, PostgresEventStore, ReadLimit};
use node::{Role, Serve, Settings};
use runtime::Runtime;
use serde_json::Value;
use testkit::domain;

use crate::system::{send, wait_until};

const ALL: &str = "/queries/ledger/log/all";

type Settle = dyn Fn(Role, &mut Settings);

/// The servers, and the threads that roles run on.
pub(crate) struct Apart {
    threads: tokio::runtime::Runtime,
    log: PostgresServer,
    rows: PostgresServer,
    queue: NatsServer,
    /// Of each role, as it is to be.
    settle: Box<Settle>,
}

impl Apart {
    pub(crate) fn start() -> Self {
        let postgres = || Postgres::new().start().expect("a PostgreSQL");
        Self::over([postgres(), postgres()], NatsServer::start().expect("a NATS"), |_, _| {})
    }

    /// Over servers of any kind.
    pub(crate) fn over(
        [log, rows]: [PostgresServer; 2],
        queue: NatsServer,
        settle: impl Fn(Role, &mut Settings) + 'static,
    ) -> Self {
        let threads = tokio::runtime::Runtime::new().expect("threads");
        Self { threads, log, rows, queue, settle: Box::new(settle) }
    }

    pub(crate) fn settings(&self) -> Settings {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings = Settings::default();
        settings.admin.listen = free;
        settings.load_balancer.listen = free;
        settings.api_gateway.listen = free;
        settings.command_service.listen = free;
        settings.query_service.listen = free;
        settings.query_service.page_token_key = "07".repeat(32);
        settings.command_database.url = self.log.url("postgres");
        settings.query_database.url = self.rows.url("postgres");
        settings.message_queue.servers = self.queue.url();
        settings.message_queue.replicas = 1;
        settings
    }

    fn serve(&self, role: Role, settings: &Settings) -> Serve {
        let (roles, mut settings) = ([role], settings.clone());
        (self.settle)(role, &mut settings);
        let started = Serve::start("tested", Arc::new(domain::registry()), &settings, &roles);
        let serve = self.threads.block_on(started).expect("the role starts");
        assert_eq!(serve.address(role).is_none(), role == Role::EventHandler);
        serve
    }

    fn stop(&self, serve: Serve) {
        self.threads.block_on(serve.stop());
    }

    /// Two of each service, and a load balancer before them.
    pub(crate) fn system(&self) -> System {
        let mut settings = self.settings();
        let services = [Role::CommandService, Role::CommandService].map(|role| self.serve(role, &settings));
        let queries = [Role::QueryService, Role::QueryService].map(|role| self.serve(role, &settings));
        let handlers = [Role::EventHandler, Role::EventHandler].map(|role| self.serve(role, &settings));
        settings.api_gateway.command_services = addresses(&services, Role::CommandService);
        settings.api_gateway.query_services = addresses(&queries, Role::QueryService);
        let gateways = [Role::ApiGateway, Role::ApiGateway].map(|role| self.serve(role, &settings));
        settings.load_balancer.api_gateways = addresses(&gateways, Role::ApiGateway);
        let front = self.serve(Role::LoadBalancer, &settings);
        let address = front.address(Role::LoadBalancer).expect("it has a listener");
        let mut all: Vec<Serve> = vec![front];
        all.extend(gateways);
        all.extend(services);
        all.extend(handlers);
        all.extend(queries);
        wait_until("all roles are ready", || all.iter().all(Serve::is_ready));
        System { address, all }
    }

    /// How many events the log has, each at its place.
    pub(crate) fn events(&self) -> usize {
        self.threads.block_on(async {
            let config = PostgresConfig::new(self.log.url("postgres"));
            let store = PostgresEventStore::open(config, &Runtime::tokio()).await.expect("the log opens");
            let (mut after, mut count) = (None, 0);
            loop {
                let events = store.read(after, ReadLimit::default()).await.expect("read, and compared");
                let Some(last) = events.last() else { return count };
                count += events.len();
                after = Some(last.position);
                assert_eq!(last.position.get(), count as u64, "positions are dense");
            }
        })
    }
}

fn addresses(services: &[Serve], role: Role) -> String {
    services.iter().filter_map(|serve| Some(serve.address(role)?.to_string())).collect::<Vec<_>>().join(",")
}

pub(crate) struct System {
    address: SocketAddr,
    pub(crate) all: Vec<Serve>,
}

impl System {
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        send(self.address, method, path, headers, body)
    }

    pub(crate) fn stop(self, apart: &Apart) {
        self.all.into_iter().for_each(|serve| apart.stop(serve));
    }

    /// Waits until the ledger contains what the log has, and returns how many events it has seen.
    pub(crate) fn ledger(&self, events: usize) {
        wait_until("the ledger has every event once", || {
            let answer = self.ask("GET", ALL, "", "");
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let row: Value = serde_json::from_str(body).unwrap_or_default();
            assert!(row["n"].as_u64().unwrap_or(0) <= events as u64, "more than there are: {row}");
            row["n"] == events
        });
    }

    /// How often an event handler has read the log because the queue did not bring what it should have.
    fn direct_reads(&self) -> u64 {
        let handlers = self.all.iter().filter(|serve| serve.runs(Role::EventHandler));
        let metrics = handlers.map(|serve| send(serve.admin_address(), "GET", "/metrics", "", ""));
        let counted = |metrics: String| -> u64 {
            let reasons = ["hole", "outage"]
                .map(|reason| format!("diptych_event_handler_direct_reads_total{{reason=\"{reason}\"}} "));
            let samples = metrics.lines().filter_map(|line| {
                reasons.iter().find_map(|sample| line.strip_prefix(sample.as_str())?.trim().parse::<u64>().ok())
            });
            samples.sum()
        };
        metrics.map(counted).sum()
    }

    fn mode(&self) -> String {
        let handler = self.all.iter().find(|serve| serve.runs(Role::EventHandler)).expect("there are two");
        let answer = send(handler.admin_address(), "GET", "/status", "", "");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let status: Value = serde_json::from_str(body).expect("JSON");
        status["mode"]["name"].as_str().unwrap_or("none").to_owned()
    }
}

/// Clients that open one account after the other until they are told to stop, each under a key of its own, sent again until
/// its outcome is known.
struct Clients {
    is_over: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(address: SocketAddr, count: usize, name: &str) -> Self {
        let (is_over, accepted, failed) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let client = |client: usize| {
            let (is_over, accepted, failed) = (is_over.clone(), accepted.clone(), failed.clone());
            let name = format!("{name}-{client}");
            std::thread::spawn(move || {
                for number in 0.. {
                    let id = format!("{name}-{number}");
                    let headers = format!("Idempotency-Key: \"{id}\"\r\n");
                    loop {
                        let answer = send(
                            address,
                            "POST",
                            &format!("/commands/account/{id}/open"),
                            &headers,
                            r#"{"owner":"Ada"}"#,
                        );
                        if answer.starts_with("HTTP/1.1 201") {
                            accepted.fetch_add(1, SeqCst);
                            break;
                        }
                        let is_known = ["HTTP/1.1 503", "HTTP/1.1 504"].iter().any(|status| answer.starts_with(status));
                        assert!(is_known, "{answer}");
                        failed.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    if is_over.load(SeqCst) {
                        return;
                    }
                }
            })
        };
        let threads = (0..count).map(client).collect();
        Self { is_over, accepted, failed, threads }
    }

    fn goes_on(&self, what: &str) {
        let before = self.accepted.load(SeqCst);
        wait_until(what, || self.accepted.load(SeqCst) >= before + 20);
    }

    /// How many commands were accepted, and how often one was refused or lost on the way.
    fn end(self) -> (u64, u64) {
        self.is_over.store(true, SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no client panics"));
        (self.accepted.load(SeqCst), self.failed.load(SeqCst))
    }
}

#[test]
fn every_box_apart_a_gateway_and_a_command_service_end_without_a_failed_request() {
    let apart = Apart::start();
    let mut system = apart.system();
    let clients = Clients::start(system.address, 6, "drained");
    clients.goes_on("commands are accepted");
    for role in [Role::ApiGateway, Role::CommandService, Role::EventHandler, Role::QueryService] {
        let place = system.all.iter().position(|serve| serve.runs(role)).expect("there are two");
        let ending = system.all.remove(place);
        apart.stop(ending);
        clients.goes_on("commands are accepted by those that are left");
    }
    let (accepted, failed) = clients.end();
    assert_eq!(failed, 0, "of {accepted} accepted");
    assert_eq!(apart.events() as u64, accepted);
    system.ledger(apart.events());
    system.stop(&apart);
}

#[test]
fn what_a_role_cannot_do_without_is_missed_at_once() {
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let registry = Arc::new(domain::registry());
    for (role, missing) in [
        (Role::CommandService, "command_database.url"),
        (Role::EventHandler, "command_database.url"),
        (Role::QueryService, "query_database.url"),
        (Role::ApiGateway, "api_gateway.command_services"),
        (Role::LoadBalancer, "load_balancer.api_gateways"),
    ] {
        let mut settings = Settings::default();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        (settings.admin.listen, settings.load_balancer.listen) = (free, free);
        let started = threads.block_on(Serve::start("tested", registry.clone(), &settings, &[role]));
        let said = started.expect_err("refused").to_string();
        assert!(said.contains(missing), "{role:?}: {said}");
    }
}

#[test]
fn several_roles_of_one_process_need_no_addresses_of_each_other_and_start_before_their_servers() {
    let mut apart = Apart::start();
    apart.queue.kill().expect("it ran");
    apart.log.kill().expect("it ran");
    let all = [Role::QueryService, Role::LoadBalancer, Role::EventHandler, Role::CommandService, Role::ApiGateway];
    let (settings, registry) = (apart.settings(), Arc::new(domain::registry()));
    let serve = apart.threads.block_on(Serve::start("tested", registry, &settings, &all)).expect("they start");
    let address = serve.address(Role::LoadBalancer).expect("it has a listener");
    let open = |id: &str| send(address, "POST", &format!("/commands/account/{id}/open"), "", r#"{"owner":"Ada"}"#);
    assert!(open("a-1").starts_with("HTTP/1.1 503"), "nothing was done");
    assert!(!serve.is_ready());
    let missing = send(serve.admin_address(), "GET", "/readyz?verbose", "", "");
    assert!(missing.contains("the Command Database is reached by the command-service: not ready"), "{missing}");
    let refused = send(serve.admin_address(), "POST", "/faults/queue", "", "");
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");

    apart.log.start().expect("it starts");
    apart.queue.restart().expect("it starts");
    wait_until("it is ready", || serve.is_ready());
    let answer = open("a-1");
    let token = header(&answer, "consistency-token").unwrap_or_else(|| panic!("{answer}"));
    let answer = send(address, "GET", ALL, &format!("Consistency-Token: {token}\r\n"), "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"n\":1"), "{answer}");
    wait_until("the databases' clocks are compared with ours", || {
        let metrics = send(serve.admin_address(), "GET", "/metrics", "", "");
        let is_there = |peer: &str| metrics.contains(&format!("diptych_clock_skew_seconds{{peer=\"{peer}\"}} "));
        is_there("command-database") && is_there("query-database")
    });
    apart.stop(serve);
}

#[test]
fn a_dead_queue_and_a_dead_database_lose_and_double_nothing() {
    let mut apart = Apart::start();
    let system = apart.system();
    let clients = Clients::start(system.address, 6, "killed");
    clients.goes_on("commands are accepted");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(system.mode(), "queue", "nothing is the matter");
    let read_directly = system.direct_reads();
    assert_eq!(read_directly, 0, "for holes and outages, while nothing is the matter");

    apart.queue.kill().expect("it ran");
    wait_until("the log is read directly", || system.mode() == "direct");
    clients.goes_on("commands do not need the queue");
    let answer = system.ask("POST", "/commands/account/fresh/open", "", r#"{"owner":"Ada"}"#);
    let token = header(&answer, "consistency-token").unwrap_or_else(|| panic!("{answer}"));
    let began = Instant::now();
    let answer = system.ask("GET", ALL, &format!("Consistency-Token: {token}\r\n"), "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    apart.queue.wipe().expect("nothing is left of it");
    apart.queue.restart().expect("another one comes");
    wait_until("the queue is relied on again", || system.mode() == "queue");

    apart.log.kill().expect("it ran");
    std::thread::sleep(Duration::from_millis(500));
    let answer = system.ask("GET", ALL, "", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "reads go on without the Command Database: {answer}");
    apart.log.start().expect("it comes back");
    clients.goes_on("commands are accepted again");

    apart.rows.kill().expect("it ran");
    clients.goes_on("commands do not need the Query Database");
    apart.rows.start().expect("it comes back");

    let (accepted, _) = clients.end();
    let events = apart.events();
    assert_eq!(events as u64, accepted + 1, "each once, and the one that was asked for by hand");
    system.ledger(events);
    system.stop(&apart);
}

/// The value of a header of a whole answer.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
