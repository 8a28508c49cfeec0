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
use http::{Request, Response};
use load_balancer::{Limits, Metrics, RemoteLimits};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::support::{Apart, PATIENCE, Running, apart, apart_at, echo, elsewhere, over, run_over, text_of, until};

const GET: &str = "GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n";
const POST: &str = "POST /a/b?c=d HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\n\r\n{}";
const KEYED: &str =
    "POST /a/b?c=d HTTP/1.1\r\nHost: shop.example\r\nIdempotency-Key: \"k\"\r\nContent-Length: 2\r\n\r\n{}";

/// What a gateway does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Echo,
    Hang,
    /// Answers with this status, and a problem with a code or without one.
    Answer(u16, Problem),
    /// Closes the connection.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Coded,
    CodeLess,
    None,
}

async fn answer(does: Does, request: Request<Body>) -> Response<Body> {
    let Does::Answer(status, problem) = does else {
        return if does == Does::Echo { echo(request).await } else { std::future::pending().await };
    };
    let response = Response::builder().status(status);
    let typed = |body: &'static str| (Some("application/problem+json"), body);
    let (content_type, body) = match problem {
        Problem::Coded => typed(r#"{"code":"outcome-unknown"}"#),
        Problem::CodeLess => typed(r#"{"title":"broken"}"#),
        Problem::None => (None, "broken"),
    };
    let response = content_type.into_iter().fold(response, |response, it| response.header("content-type", it));
    response.body(body.into()).expect("a response")
}

/// A gateway that does one thing until it is healed.
struct Faulty {
    address: SocketAddr,
    is_healed: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

/// Says that it is ready, as a gateway does, and closes every other connection on which something is asked.
async fn close_all(listener: TcpListener, asked: Arc<AtomicUsize>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let asked = asked.clone();
        tokio::spawn(async move {
            let mut head = [0; 1024];
            while let Ok(bytes) = socket.read(&mut head).await {
                if !head[..bytes].starts_with(b"GET /.diptych/ready ") {
                    asked.fetch_add(usize::from(bytes > 0), SeqCst);
                    return;
                }
                let ready = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                if tokio::io::AsyncWriteExt::write_all(&mut socket, ready).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn faulty(does: Does) -> Faulty {
    let is_healed = Arc::<AtomicBool>::default();
    if does == Does::Close {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, asked) = (listener.local_addr().expect("an address"), Arc::<AtomicUsize>::default());
        tokio::spawn(close_all(listener, asked.clone()));
        return Faulty { address, is_healed, asked };
    }
    let healed = is_healed.clone();
    let Apart { address, answered, .. } =
        apart(move |request| answer(if healed.load(SeqCst) { Does::Echo } else { does }, request));
    Faulty { address, is_healed, asked: answered }
}

fn impatient() -> RemoteLimits {
    let short = Duration::from_millis(200);
    RemoteLimits { query_time_max: short, command_time_max: short, ..RemoteLimits::default() }
}

async fn balanced(addresses: &[SocketAddr]) -> Running {
    let metrics = Metrics::new();
    let gateways = elsewhere(addresses, &metrics, impatient()).await;
    run_over(Limits::default(), over(gateways, &metrics), metrics)
}

fn shows(running: &Running, metric: &str, backend: SocketAddr, value: u8) -> bool {
    let line = format!("diptych_load_balancer_backend_{metric}{{backend=\"{backend}\"}} {value}\n");
    text_of(&running.metrics).contains(&line)
}

async fn statuses(running: &Running, requests: &[&str], times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        for request in requests {
            statuses.push(running.ask(request).await.status);
        }
    }
    statuses
}

#[tokio::test]
async fn a_request_reaches_a_gateway_in_another_process_unchanged_in_meaning() {
    let answer = balanced(&[apart(echo).address]).await.ask(POST).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("POST /a/b?c=d\n"), "{}", answer.body);
    assert!(answer.body.contains("host: shop.example\n") && answer.body.ends_with("\n{}"), "{}", answer.body);
    assert_eq!(answer.header("via"), "1.1 diptych");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_fails_is_ejected_without_a_failed_request_and_comes_back() {
    for (does, requests) in [
        (Does::Hang, [GET, KEYED].as_slice()),
        (Does::Close, &[GET, KEYED]),
        (Does::Answer(502, Problem::None), &[GET, KEYED]),
        (Does::Answer(500, Problem::None), &[GET]),
        (Does::Answer(500, Problem::CodeLess), &[GET]),
    ] {
        println!("{does:?}");
        let faulty = faulty(does).await;
        let running = balanced(&[faulty.address, apart(echo).address, apart(echo).address]).await;
        assert!(shows(&running, "ejected", faulty.address, 0) && shows(&running, "up", faulty.address, 1));
        let began = std::time::Instant::now();
        while !shows(&running, "ejected", faulty.address, 1) {
            assert!(began.elapsed() < 2 * PATIENCE, "{does:?} is ejected");
            assert!(statuses(&running, requests, 1).await.iter().all(|status| *status == 200), "{does:?}");
        }
        assert!(faulty.asked.load(SeqCst) >= 5);
        if does == Does::Close {
            continue;
        }
        faulty.is_healed.store(true, SeqCst);
        let began = std::time::Instant::now();
        while shows(&running, "ejected", faulty.address, 1) {
            assert!(began.elapsed() < 2 * PATIENCE, "{does:?} is back");
            assert!(statuses(&running, requests, 1).await.iter().all(|status| *status == 200), "{does:?}");
        }
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_connections_fails_no_request_of_any_kind_and_is_asked_again() {
    let (gone, whole) = (apart(echo), apart(echo));
    let running = balanced(&[gone.address, whole.address]).await;
    gone.shutdown.request();
    gone.served.await;
    let statuses = statuses(&running, &[POST, GET, KEYED], 20).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert!(shows(&running, "up", gone.address, 0) && shows(&running, "up", whole.address, 1));
    let back = apart_at(gone.address, echo);
    until("it is ready again", || shows(&running, "up", back.address, 1)).await;
}

#[tokio::test]
async fn a_command_without_a_key_is_never_sent_twice() {
    for (does, status) in [
        (Does::Hang, 504),
        (Does::Close, 504),
        (Does::Answer(502, Problem::None), 502),
        (Does::Answer(504, Problem::Coded), 504),
    ] {
        let (faulty, whole) = (faulty(does).await, apart(echo));
        let running = balanced(&[faulty.address, whole.address]).await;
        let statuses = statuses(&running, &[POST], 10).await;
        assert!(statuses.iter().all(|seen| [200, status].contains(seen)), "{does:?}: {statuses:?}");
        let failed = statuses.iter().filter(|seen| **seen == status).count();
        assert_eq!(faulty.asked.load(SeqCst), failed, "{does:?}");
        assert_eq!(whole.answered.load(SeqCst), 10 - failed, "{does:?}");
    }
}

#[tokio::test]
async fn a_command_of_unknown_outcome_is_sent_again_under_its_key() {
    let (unsure, whole) = (faulty(Does::Answer(504, Problem::Coded)).await, apart(echo));
    let running = balanced(&[unsure.address, whole.address]).await;
    // Few enough that the budget has a retry for each that chance sends to the wrong one.
    assert_eq!(statuses(&running, &[KEYED], 12).await, [200; 12]);
    assert_eq!(whole.answered.load(SeqCst), 12);
    assert!(unsure.asked.load(SeqCst) > 0);
    assert!(shows(&running, "ejected", unsure.address, 0), "what is behind it is to blame");
    let text = text_of(&running.metrics);
    assert!(text.contains(&format!("diptych_load_balancer_retries_total {}\n", unsure.asked.load(SeqCst))), "{text}");
}

#[tokio::test]
async fn what_comes_from_behind_a_gateway_neither_ejects_it_nor_is_asked_again() {
    for (does, status) in [(Does::Answer(503, Problem::Coded), 503), (Does::Answer(429, Problem::None), 429)] {
        let (short, whole) = (faulty(does).await, apart(echo));
        let running = balanced(&[short.address, whole.address]).await;
        let statuses = statuses(&running, &[GET, KEYED, POST], 10).await;
        let seen = statuses.iter().filter(|seen| **seen == status).count();
        assert_eq!(seen, short.asked.load(SeqCst));
        assert_eq!(seen + whole.answered.load(SeqCst), 30);
        assert!(seen >= 6 && shows(&running, "ejected", short.address, 0), "{statuses:?}");
    }
}

#[tokio::test]
async fn while_every_gateway_fails_all_are_asked_and_retries_stay_within_their_budget() {
    let broken = [faulty(Does::Answer(500, Problem::None)).await, faulty(Does::Answer(500, Problem::None)).await];
    let running = balanced(&broken.each_ref().map(|faulty| faulty.address)).await;
    let began = std::time::Instant::now();
    assert_eq!(statuses(&running, &[GET], 200).await, [500; 200]);
    let retried: usize = broken.iter().map(|faulty| faulty.asked.load(SeqCst)).sum::<usize>() - 200;
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("few") + 1;
    assert!((10..=10 + 20 + seconds).contains(&retried), "{retried} of 200 in {seconds} s");
    assert!(!text_of(&running.metrics).contains("limited_total{policy=\"retries\"} 0\n"), "the budget was spent");
    let ejected = broken.iter().filter(|faulty| shows(&running, "ejected", faulty.address, 1)).count();
    assert!(ejected <= 1, "half of them at the most");
}

#[tokio::test]
async fn a_body_that_is_long_or_of_unknown_length_passes_and_is_not_repeated() {
    let (closing, whole) = (faulty(Does::Close).await, apart(echo));
    let running = balanced(&[closing.address, whole.address]).await;
    let long = "x".repeat(100_000);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"k\"\r\n";
    let announced = format!("{head}Content-Length: {}\r\n\r\n{long}", long.len());
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let mut seen = Vec::new();
    for request in [&announced, &chunked].repeat(5) {
        let answer = running.ask(request).await;
        assert!(answer.status != 200 || answer.body.ends_with(&format!("\n\n{long}")));
        seen.push(answer.status);
    }
    assert!(seen.iter().all(|status| [200, 504].contains(status)), "{seen:?}");
    assert_eq!(whole.answered.load(SeqCst), seen.iter().filter(|status| **status == 200).count());
}

#[tokio::test]
async fn a_user_who_sends_slowly_or_breaks_off_cannot_have_a_gateway_ejected() {
    let gateway = apart(echo);
    let running = balanced(&[gateway.address, apart(echo).address]).await;
    let is_any_ejected = |text: String| text.lines().any(|line| line.contains("_ejected{") && line.ends_with(" 1"));
    for _ in 0..12 {
        let mut slow = running.connect().await;
        slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc").await;
        slow.answer().await.expect("an answer").problem(504, "outcome-unknown");
        let mut broken = running.connect().await;
        broken.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno chunk\r\n").await;
        broken.answer().await.expect("an answer").problem(400, "malformed-request");
    }
    assert!(!is_any_ejected(text_of(&running.metrics)), "{}", text_of(&running.metrics));
}

#[tokio::test]
async fn a_gateway_that_drains_fails_no_request() {
    let slow = async |request| {
        tokio::time::sleep(Duration::from_millis(2)).await;
        echo(request).await
    };
    let (first, second) = (apart(slow), apart(slow));
    let running = Arc::new(balanced(&[first.address, second.address]).await);
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
    until("both answer", || first.answered.load(SeqCst) > 50 && second.answered.load(SeqCst) > 50).await;
    first.is_ending.store(true, SeqCst);
    until("it is noticed", || shows(&running, "up", first.address, 0)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let by_first = first.answered.load(SeqCst);
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
    assert_eq!(first.answered.load(SeqCst), by_first, "it was asked for nothing more");
    assert_eq!(second.answered.load(SeqCst) + by_first, answered);
}

#[tokio::test]
async fn gateways_that_are_replaced_one_after_the_other_fail_no_request() {
    let (first, second) = (apart(echo), apart(echo));
    let running = balanced(&[first.address, second.address]).await;
    first.is_ending.store(true, SeqCst);
    let mut by_first = usize::MAX;
    while by_first != first.answered.load(SeqCst) {
        by_first = first.answered.load(SeqCst);
        for _ in 0..20 {
            assert_eq!(running.ask(POST).await.status, 200);
        }
    }
    // The first one is back and nobody knows it yet; the second one begins to end at that moment.
    first.is_ending.store(false, SeqCst);
    second.is_ending.store(true, SeqCst);
    let began = std::time::Instant::now();
    while by_first == first.answered.load(SeqCst) {
        assert_eq!(running.ask(POST).await.status, 200, "it is still there");
        assert!(began.elapsed() < PATIENCE, "the first one is asked again");
    }
}

#[tokio::test]
async fn without_a_gateway_requests_are_refused_and_served_again_when_one_is_back() {
    let gateway = apart(echo);
    let running = balanced(&[gateway.address]).await;
    gateway.shutdown.request();
    gateway.served.await;
    running.ask(POST).await.problem(503, "unavailable");
    let _back = apart_at(gateway.address, echo);
    let began = std::time::Instant::now();
    while running.ask(GET).await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "it is asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_request_whose_gateway_is_gone_says_what_is_known_of_it() {
    for does in [Does::Close, Does::Hang] {
        let running = balanced(&[faulty(does).await.address]).await;
        for command in [POST, KEYED] {
            running.ask(command).await.problem(504, "outcome-unknown");
        }
        running.ask(GET).await.problem(503, "unavailable");
    }
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_cut_and_its_gateway_blamed() {
    let (stalling, whole) = (
        apart(async |_| {
            let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("half") });
            Response::new(Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending())))
        }),
        apart(echo),
    );
    let metrics = Metrics::new();
    let limits = RemoteLimits { stall_time_max: Duration::from_millis(100), ..RemoteLimits::default() };
    let gateways = elsewhere(&[stalling.address, whole.address], &metrics, limits).await;
    let running = run_over(Limits::default(), over(gateways, &metrics), metrics);
    let began = std::time::Instant::now();
    while !shows(&running, "ejected", stalling.address, 1) {
        assert!(began.elapsed() < 2 * PATIENCE, "it is ejected");
        let mut client = running.connect().await;
        client.send(GET).await;
        // Whole, or cut.
        let _ = client.answer().await;
    }
}
