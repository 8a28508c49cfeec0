//! HAProxy in the place of the Load Balancer, by the configuration that is shipped: what it has to do for a system in which
//! gateways come and go.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use cluster::{HaproxyServer, Role, Service, System};

use super::client::{Answer, Client};

const CONFIGURATION: &str = include_str!("../../../../../deploy/haproxy/haproxy.cfg");
const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 4;
const ORDER: &str =
    r#"{"country":"France","lines":[{"stock_code":"tea-100","quantity":2,"price":"4.500","time":"2026-11-23T10:00"}]}"#;

/// What clients have met so far.
#[derive(Default)]
struct Met {
    is_over: AtomicBool,
    done: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Met {
    fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn count(&self, what: &str, expected: u16, answer: std::io::Result<Answer>) {
        let failure = match answer {
            Ok(answer) if answer.status == expected => {
                self.done.fetch_add(1, SeqCst);
                return;
            }
            Ok(answer) => format!("{what}: {} {}", answer.status, answer.body),
            Err(error) => format!("{what}: no answer: {error}"),
        };
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(failure);
    }

    /// Waits until so many more requests were answered as they should be.
    fn goes_on(&self, requests: usize) {
        let (began, wanted) = (Instant::now(), self.done.load(SeqCst) + requests);
        while self.done.load(SeqCst) < wanted {
            assert!(began.elapsed() < PATIENCE, "not answered within a minute: {:?}", self.failures());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// One client: orders without a key, which nobody may send twice, and queries, until it is over.
    fn client(&self, api: SocketAddr, name: &str) {
        let mut client = Client::new(api);
        for number in 0.. {
            if self.is_over.load(SeqCst) {
                return;
            }
            self.count("command", 201, client.post(&format!("/commands/order/{name}-{number}/place"), &[], ORDER));
            self.count("query", 200, client.get("/queries/country_sales", &[]));
        }
    }
}

fn gateways(system: &mut System) -> Vec<&mut Service> {
    system.services_mut(Role::ApiGateway).collect()
}

/// How many requests a gateway has answered since it started.
fn answered(admin: &str) -> f64 {
    let admin = admin.parse().expect("an address");
    let Ok(metrics) = Client::new(admin).get("/metrics", &[]) else { return 0.0 };
    let counts =
        metrics.body.lines().filter(|line| line.starts_with("diptych_api_gateway_request_duration_seconds_count"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn wait_until_used(gateway: &Service) {
    let began = Instant::now();
    while answered(&gateway.admin()) == 0.0 {
        assert!(began.elapsed() < PATIENCE, "HAProxy sends it nothing");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn haproxy_spreads_requests_loses_none_to_a_drain_and_leaves_out_who_is_dead() {
    let _alone = super::alone();
    let mut system = System::start(Path::new(env!("CARGO_BIN_EXE_shop"))).expect("every box starts");
    let addresses: Vec<String> = gateways(&mut system).iter().filter_map(|gateway| gateway.address()).collect();
    let moved = [("127.0.0.1:8082", addresses[0].clone()), ("127.0.0.1:9082", addresses[1].clone())];
    let haproxy = HaproxyServer::start(CONFIGURATION, "127.0.0.1:8080", &moved).expect("HAProxy starts");
    let api: SocketAddr = haproxy.address().parse().expect("an address");

    let met = Met::default();
    std::thread::scope(|threads| {
        for client in 0..CLIENTS {
            let (met, name) = (&met, format!("client-{client}"));
            threads.spawn(move || met.client(api, &name));
        }
        // Whatever fails, the clients end.
        let over = OnDrop(|| met.is_over.store(true, SeqCst));
        met.goes_on(100);
        for gateway in gateways(&mut system) {
            wait_until_used(gateway);
            gateway.stop().expect("it drains");
            met.goes_on(50);
            gateway.restart().expect("it starts again");
            gateway.wait_until_ready().expect("it is ready again");
            wait_until_used(gateway);
        }
        assert_eq!(met.failures(), Vec::<String>::new(), "a drain fails no request");

        let mut gateways = gateways(&mut system);
        gateways[0].kill().expect("it ran");
        // Within this, what was under way there may fail, and its death is noticed.
        std::thread::sleep(Duration::from_secs(2));
        let lost = met.failures().len();
        assert!(lost <= 4 * CLIENTS, "a few that were under way: {:?}", met.failures());
        met.goes_on(100);
        assert_eq!(met.failures().len(), lost, "who is dead is asked nothing: {:?}", met.failures());
        gateways[0].restart().expect("it starts again");
        wait_until_used(gateways[0]);
        drop(over);
    });
    // HAProxy says that nobody knows, or, where the gateway ended a connection that had served before, ends the client's too.
    let is_open = |failure: &String| failure.contains("outcome-unknown") || failure.contains("no answer");
    assert!(met.failures().iter().all(is_open), "{:?}", met.failures());
}

#[test]
fn what_haproxy_refuses_itself_reads_as_every_other_refusal() {
    let _alone = super::alone();
    // Nobody listens at the two gateways' addresses.
    let moved = [("127.0.0.1:8082", "127.0.0.1:9".to_owned()), ("127.0.0.1:9082", "127.0.0.1:9".to_owned())];
    let haproxy = HaproxyServer::start(CONFIGURATION, "127.0.0.1:8080", &moved).expect("HAProxy starts");
    let mut client = Client::new(haproxy.address().parse().expect("an address"));
    let began = Instant::now();
    let answer = loop {
        let answer = client.get("/queries/country_sales", &[]).expect("answered");
        // Before it has looked, it takes them to be there, and tries.
        if answer.status == 503 || began.elapsed() > PATIENCE {
            break answer;
        }
    };
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.json()["code"], "unavailable");
    assert_eq!(answer.json()["retryable"], true);
}

/// Does something when it goes, by whatever way.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
