//! Measures the goals of docs/performance.md that are about boxes apart, on PostgreSQL and NATS: `cargo bench`.
//!
//! `cargo bench --bench apart -- append publish commands forwarding visibility` runs some of them; `--rounds N` sets the rounds.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program of its own, outside the boxes")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use benchmarks::{
    Blocking, Journey, Load, Request, Server, Spread, asked_for, binary, build, figure, get, quantile, report,
};
use cluster::{NatsServer, Postgres, PostgresServer, System};

mod append; // one box beside bare inserts
mod publish; // one box beside bare publishing

const CONNECTIONS: usize = 64;
const ANYWHERE: &str = "127.0.0.1:0";

fn main() {
    let (rounds, named) = asked_for();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|argument| argument == name);
    let of_processes = ["commands", "forwarding", "visibility"];
    if of_processes.into_iter().any(wanted) {
        build();
    }
    println!("{rounds} rounds, medians (least – greatest)");
    if wanted("append") {
        append::append(rounds);
    }
    if wanted("publish") {
        publish::publish(rounds);
    }
    if wanted("commands") {
        commands(rounds);
    }
    if wanted("forwarding") {
        forwarding(rounds);
    }
    if wanted("visibility") {
        visibility(rounds);
    }
}

fn address_of_load_balancer(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("load-balancer")?.trim().parse().ok()
}

fn address_of_gateway(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("api-gateway")?.trim().parse().ok()
}

fn rate(address: SocketAddr, request: impl Request) -> f64 {
    let load = Load { connections: CONNECTIONS, requests_max: 10_000_000, time_max: Duration::from_secs(4), first: 0 };
    let run = load.run(address, request).expect("the load runs");
    assert_eq!(run.failed, 0, "{:?}", run.first_failure);
    run.rate()
}

/// A PostgreSQL for the log, one for the rows, and a NATS.
struct Servers {
    log: PostgresServer,
    rows: PostgresServer,
    queue: NatsServer,
}

impl Servers {
    fn start() -> Self {
        let postgres = || Postgres::new().start().expect("a PostgreSQL");
        Self { log: postgres(), rows: postgres(), queue: NatsServer::start().expect("a NATS") }
    }

    /// All roles that `binary` needs in one process on these servers, reached by its load balancer.
    fn serve(&self, name: &str, roles: &str) -> Server {
        let settings = [
            ("DIPTYCH__ADMIN__LISTEN", ANYWHERE.to_owned()),
            ("DIPTYCH__LOAD_BALANCER__LISTEN", ANYWHERE.to_owned()),
            ("DIPTYCH__API_GATEWAY__LISTEN", ANYWHERE.to_owned()),
            ("DIPTYCH__COMMAND_SERVICE__LISTEN", ANYWHERE.to_owned()),
            ("DIPTYCH__QUERY_SERVICE__LISTEN", ANYWHERE.to_owned()),
            ("DIPTYCH__QUERY_SERVICE__PAGE_TOKEN_KEY", "5e".repeat(32)),
            ("DIPTYCH__COMMAND_DATABASE__URL", self.log.url("postgres")),
            ("DIPTYCH__QUERY_DATABASE__URL", self.rows.url("postgres")),
            ("DIPTYCH__MESSAGE_QUEUE__SERVERS", self.queue.url()),
            ("DIPTYCH__MESSAGE_QUEUE__REPLICAS", "1".to_owned()),
        ];
        let server =
            Server::start_with(&binary(name), &["serve", "--role", roles], &settings, address_of_load_balancer);
        until_accepted(server.address);
        server
    }
}

/// Asks until a command is accepted: everything that it needs is there.
fn until_accepted(address: SocketAddr) {
    let began = Instant::now();
    for number in 0.. {
        let mut request = Vec::new();
        Journey { prefix: format!("first{number}"), keyed: false }.write(0, 0, &mut request);
        if Blocking::connect(address).is_ok_and(|mut client| client.send(&request).is_ok_and(|status| status == 201)) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no command was accepted");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// P5.
fn commands(rounds: usize) {
    let noop = Server::start(&binary("noop"), &[], Server::address_after_listening);
    let (mut shares, mut rates, mut projected) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let journey = |name: &str| Journey { prefix: format!("{name}{round}"), keyed: false };
        let base = rate(noop.address, journey("n"));
        let servers = Servers::start();
        let system = servers.serve("commands_only", "load-balancer,api-gateway,command-service,query-service");
        rate(system.address, journey("w"));
        let ours = rate(system.address, journey("r"));
        shares.push(ours / base);
        rates.push(ours);
        drop((system, servers));
        let servers = Servers::start();
        let all = "load-balancer,api-gateway,command-service,event-handler,query-service";
        let system = servers.serve("shop", all);
        rate(system.address, journey("w"));
        projected.push(rate(system.address, journey("r")) / base);
    }
    report("P5", "commands/s on PostgreSQL at 64 connections, of the no-op", Spread::of(shares), 0.35, true);
    figure("  commands/s", Spread::of(rates));
    figure("  the same with five projections live", Spread::of(projected));
}

/// P9: a page that the gateway answers by itself, so that nothing but forwarding is compared.
fn forwarding(rounds: usize) {
    let page = |_: usize, _: usize, out: &mut Vec<u8>| get("/errors/not-found", out);
    let nowhere = "127.0.0.1:9".to_owned();
    let settings = |gateways: String| {
        [
            ("DIPTYCH__ADMIN__LISTEN", ANYWHERE.to_owned()),
            ("DIPTYCH__LOAD_BALANCER__LISTEN", ANYWHERE.to_owned()),
            ("DIPTYCH__API_GATEWAY__LISTEN", ANYWHERE.to_owned()),
            // Nobody is there, and nobody is asked.
            ("DIPTYCH__API_GATEWAY__COMMAND_SERVICES", nowhere.clone()),
            ("DIPTYCH__API_GATEWAY__QUERY_SERVICES", nowhere.clone()),
            ("DIPTYCH__LOAD_BALANCER__API_GATEWAYS", gateways),
        ]
    };
    let start = |roles: &str, gateways: String, url_of: fn(&str) -> Option<SocketAddr>| {
        Server::start_with(&binary("shop"), &["serve", "--role", roles], &settings(gateways), url_of)
    };
    let (mut in_memory, mut apart) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let gateway = start("api-gateway", String::new(), address_of_gateway);
        let both = start("load-balancer,api-gateway", String::new(), address_of_load_balancer);
        let front = start("load-balancer", gateway.address.to_string(), address_of_load_balancer);
        until_found(front.address);
        let direct = rate(gateway.address, page);
        in_memory.push(rate(both.address, page) / direct);
        apart.push(rate(front.address, page) / direct);
    }
    report("P9", "load balancer in memory, of a gateway by itself", Spread::of(in_memory), 0.93, true);
    report("P9", "load balancer as a process, of a gateway by itself", Spread::of(apart), 0.40, true);
}

fn until_found(address: SocketAddr) {
    let began = Instant::now();
    let mut request = Vec::new();
    get("/errors/not-found", &mut request);
    while !Blocking::connect(address).is_ok_and(|mut client| client.send(&request).is_ok_and(|status| status == 200)) {
        assert!(began.elapsed() < Duration::from_secs(60), "no gateway was found");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// From the answer of a command to the first answer of a query that contains it, in the whole local cluster.
fn visibility(rounds: usize) {
    let system = System::start(&binary("shop")).expect("the cluster starts");
    let address: SocketAddr = system.api().trim_start_matches("http://").parse().expect("an address");
    until_accepted(address);
    let mut tails = Vec::new();
    for round in 0..rounds {
        let mut took: Vec<Duration> = (0..300).map(|index| visible(address, &format!("v{round}-{index}"))).collect();
        took.sort_unstable();
        tails.push(quantile(&took, 0.99) / 1e3);
    }
    report("P8", "acknowledged to visible p99 in the local cluster, milliseconds", Spread::of(tails), 50.0, false);
}

fn visible(address: SocketAddr, order: &str) -> Duration {
    let mut client = Blocking::connect(address).expect("connected");
    let mut request = Vec::new();
    Journey { prefix: order.to_owned(), keyed: false }.write(0, 0, &mut request);
    assert_eq!(client.send(&request).expect("answered"), 201);
    let acknowledged = Instant::now();
    request.clear();
    get(&format!("/queries/order_summary/{order}-0-0"), &mut request);
    while client.send(&request).expect("answered") != 200 {
        assert!(acknowledged.elapsed() < Duration::from_secs(30), "{order} never became visible");
    }
    acknowledged.elapsed()
}
