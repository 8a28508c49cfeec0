//! Gateways in other processes: real sockets between the load balancer and them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use load_balancer::{Limits, Metrics};
use runtime::{Runtime, Shutdown, Task};
use wire::{Caller, CallerLimits, Endpoint, Instances, Responds, serve_http};

use crate::support::{PATIENCE, Running, echo, over, run_over};

/// A gateway that answers with what it was sent, after a pause.
struct Echo {
    pause: Duration,
    is_ending: AtomicBool,
    answered: AtomicUsize,
}

impl Responds for Echo {
    type Body = Body;

    fn respond(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        self.answered.fetch_add(1, SeqCst);
        let pause = self.pause;
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            echo(request.map(Body::new)).await
        })
    }

    fn is_ready(&self) -> bool {
        !self.is_ending.load(SeqCst)
    }

    fn say_ready(is_ready: bool) -> Response<Body> {
        Response::builder().status(if is_ready { 200 } else { 503 }).body(Body::empty()).expect("a response")
    }
}

struct Gateway {
    address: SocketAddr,
    echo: Arc<Echo>,
    shutdown: Shutdown,
    served: Task<()>,
}

fn gateway(pause: Duration) -> Gateway {
    let (runtime, shutdown) = (Runtime::tokio(), Shutdown::new());
    let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let echo = Arc::new(Echo { pause, is_ending: AtomicBool::new(false), answered: AtomicUsize::new(0) });
    let address = endpoint.address();
    let served = runtime.spawn("gateway", serve_http(endpoint, echo.clone(), 64, runtime.clone(), shutdown.clone()));
    Gateway { address, echo, shutdown, served }
}

async fn balanced(gateways: &[&Gateway]) -> Running {
    let runtime = Runtime::tokio();
    let addresses = gateways.iter().map(|gateway| gateway.address.to_string()).collect();
    let known = Instances::new(addresses).expect("addresses");
    let caller = Caller::start(&runtime, known.clone(), CallerLimits::default(), Shutdown::new());
    let metrics = Metrics::new();
    let instances = load_balancer::remote(caller.instances(), &runtime, &metrics, Shutdown::new());
    let running = run_over(Limits::default(), over(instances.clone(), &metrics), metrics);
    while !instances.iter().all(load_balancer::Instance::is_ready) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running
}

const POST: &str = "POST /a/b?c=d HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\n\r\n{}";
const GET: &str = "GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n";

#[tokio::test]
async fn a_request_reaches_a_gateway_in_another_process_unchanged_in_meaning() {
    let gateway = gateway(Duration::ZERO);
    let answer = balanced(&[&gateway]).await.ask(POST).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("POST /a/b?c=d\n"), "{}", answer.body);
    assert!(answer.body.contains("host: shop.example\n") && answer.body.ends_with("\n{}"), "{}", answer.body);
    assert_eq!(answer.header("via"), "1.1 diptych");
}

#[tokio::test]
async fn a_gateway_that_drains_fails_no_request() {
    let gateways = [gateway(Duration::from_millis(2)), gateway(Duration::from_millis(2))];
    let running = Arc::new(balanced(&[&gateways[0], &gateways[1]]).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (running, is_over) = (running.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut client = running.connect().await;
                let mut statuses = Vec::new();
                while !is_over.load(SeqCst) {
                    client.send(POST).await;
                    statuses.push(client.answer().await.expect("an answer").status);
                }
                statuses
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let [first, second] = gateways;
    first.echo.is_ending.store(true, SeqCst);
    // As long as it takes others to notice.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let by_first = first.echo.answered.load(SeqCst);
    first.shutdown.request();
    first.served.await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    is_over.store(true, SeqCst);
    let mut answered = 0;
    for client in clients {
        let statuses = client.await.expect("no panic");
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        answered += statuses.len();
    }
    assert_eq!(first.echo.answered.load(SeqCst), by_first, "it was asked for nothing more");
    assert!(by_first > 0 && second.echo.answered.load(SeqCst) + by_first == answered);
}

#[tokio::test]
async fn without_a_gateway_requests_are_refused_and_served_again_when_one_is_back() {
    let gateway = gateway(Duration::ZERO);
    let running = balanced(&[&gateway]).await;
    gateway.shutdown.request();
    gateway.served.await;
    running.ask(POST).await.problem(503, "unavailable");
    let runtime = Runtime::tokio();
    let endpoint = Endpoint::bind(gateway.address).expect("its port is free again");
    drop(runtime.spawn("gateway", serve_http(endpoint, gateway.echo, 64, runtime.clone(), Shutdown::new())));
    let began = std::time::Instant::now();
    while running.ask(GET).await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "it is asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_query_whose_gateway_is_gone_is_asked_of_another_one_and_a_command_is_not() {
    let broken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = broken.local_addr().expect("an address");
    // Takes each request and closes.
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = broken.accept().await {
            let mut head = [0; 64];
            let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut head).await;
        }
    });
    let whole = gateway(Duration::ZERO);
    let known = Instances::new(vec![address.to_string(), whole.address.to_string()]).expect("addresses");
    let (runtime, metrics) = (Runtime::tokio(), Metrics::new());
    let instances = load_balancer::remote(&known, &runtime, &metrics, Shutdown::new());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let running = run_over(Limits::default(), over(instances, &metrics), metrics);
    let mut commands = Vec::new();
    for _ in 0..20 {
        assert_eq!(running.ask(GET).await.status, 200);
        commands.push(running.ask(POST).await.status);
    }
    assert!(commands.contains(&504) && commands.contains(&200), "{commands:?}");
}

#[tokio::test]
async fn a_request_whose_gateway_is_gone_says_what_is_known_of_it() {
    let (listener, known) = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        (listener, Instances::new(vec![address]).expect("an address"))
    };
    // Takes each request and closes.
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 64];
            let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut head).await;
        }
    });
    let (runtime, metrics) = (Runtime::tokio(), Metrics::new());
    let instances = load_balancer::remote(&known, &runtime, &metrics, Shutdown::new());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let running = run_over(Limits::default(), over(instances, &metrics), metrics);
    running.ask(POST).await.problem(504, "outcome-unknown");
    running.ask(GET).await.problem(503, "unavailable");
}
