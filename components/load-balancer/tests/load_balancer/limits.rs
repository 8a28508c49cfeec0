use std::{error::Error as _, time::Duration};

use http::Response;
use load_balancer::{Error, Limits, Listener};

use crate::support::{GET, Layout, PATIENCE, echo, text_of};

const SHORT: Duration = Duration::from_millis(200);
/// What a busy machine may add to a limit before a test takes it for broken.
const SLACK: Duration = Duration::from_secs(3);

#[track_caller]
fn assert_about(took: Duration, limit: Duration) {
    assert!(took >= limit / 2 && took < limit + SLACK, "{took:?} where {limit:?} is the limit");
}

#[tokio::test]
async fn a_head_must_be_complete_in_time_from_its_first_byte() {
    for layout in Layout::ALL {
        let running = layout.run(Limits { head_time_max: SHORT, ..Limits::default() }, echo).await;
        let mut client = running.connect().await;
        // The time does not run before the first byte, nor after an answer.
        tokio::time::sleep(SHORT * 3).await;
        client.send(GET).await;
        assert_eq!(client.answer().await.expect("an answer").status, 200);
        tokio::time::sleep(SHORT * 3).await;
        client.send(&GET[..10]).await;
        assert_about(client.closed().await, SHORT);
        assert!(text_of(&running.metrics).contains("limited_total{policy=\"head-time\"} 1"));
    }
}

#[tokio::test]
async fn a_head_that_trickles_does_not_win_time_by_it() {
    for layout in Layout::ALL {
        let running = layout.run(Limits { head_time_max: SHORT, ..Limits::default() }, echo).await;
        let mut client = running.connect().await;
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE {
            if !client.try_send("x").await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_about(began.elapsed(), SHORT);
    }
}

#[test]
fn the_defaults_are_fit_for_the_world() {
    let limits = Limits::default();
    assert_eq!([limits.head_time_max, limits.idle_time_max].map(|span| span.as_secs()), [10, 60]);
    assert_eq!([limits.head_bytes_max, limits.target_bytes_max, limits.headers_max], [16_384, 8_192, 100]);
    assert_eq!([limits.connections_max, limits.connections_per_peer_max], [10_000, 1_000]);
    assert_eq!((limits.body_bytes_max, limits.body_rate_min), (1_048_576, 1_024));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    for layout in Layout::ALL {
        let running = layout.run(Limits { idle_time_max: SHORT, ..Limits::default() }, echo).await;
        let (mut fresh, mut used) = (running.connect().await, running.connect().await);
        used.send(GET).await;
        used.answer().await.expect("an answer");
        assert_about(fresh.closed().await, SHORT);
        used.closed().await;
    }
}

#[tokio::test]
async fn a_head_beyond_its_limits_is_refused() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        let headers = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
        for (name, head, passes) in [
            ("99 headers and Host", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", headers(99)), true),
            ("100 headers and Host", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", headers(100)), false),
            ("a head of 15 KiB", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(15 * 1024)), true),
            (
                "a head of 16 KiB and more",
                format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(16 * 1024)),
                false,
            ),
            ("a head of 1 MiB", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(1024 * 1024)), false),
            ("a target of 8 KiB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(8191)), true),
            ("a target beyond 8 KiB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(8192)), false),
        ] {
            println!("{name}");
            let answer = running.ask(&head).await;
            if passes {
                assert_eq!(answer.status, 200);
            } else {
                answer.problem(431, "headers-too-large");
            }
        }
        assert!(text_of(&running.metrics).contains("limited_total{policy=\"head-size\"} 4"));
    }
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_announced_or_not() {
    for layout in Layout::ALL {
        let running = layout.run(Limits { body_bytes_max: 100_000, ..Limits::default() }, echo).await;
        for (length, passes) in [(100_000, true), (100_001, false), (3_000_000, false)] {
            let body = "x".repeat(length);
            let announced = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
            let chunked = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            );
            for bytes in [announced, chunked] {
                let mut client = running.connect().await;
                client.try_send(bytes).await;
                let answer = client.answer().await.expect("an answer");
                if passes {
                    assert_eq!(answer.status, 200);
                } else {
                    answer.problem(413, "content-too-large");
                    assert!(client.answer().await.is_none(), "the connection closes");
                }
            }
        }
        assert!(text_of(&running.metrics).contains("limited_total{policy=\"body-size\"} 4"));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        let answer =
            running.ask("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n").await;
        answer.problem(413, "content-too-large");
    }
}

#[tokio::test]
async fn a_body_must_come_at_a_minimum_rate() {
    for layout in Layout::ALL {
        let limits = Limits { body_grace: SHORT, body_rate_min: 10_000, ..Limits::default() };
        let running = layout.run(limits, echo).await;
        for head in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
            let mut client = running.connect().await;
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n")).await;
            let began = std::time::Instant::now();
            while began.elapsed() < PATIENCE && client.try_send("1").await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_about(began.elapsed(), SHORT);
        }
        assert!(text_of(&running.metrics).contains("limited_total{policy=\"body-rate\"} 2"));
    }
}

#[tokio::test]
async fn a_gateway_that_takes_its_time_is_not_a_slow_client() {
    for layout in Layout::ALL {
        let limits = Limits { body_grace: SHORT, body_rate_min: 1_000_000, ..Limits::default() };
        let running = layout
            .run(limits, async |request| {
                tokio::time::sleep(SHORT * 3).await;
                echo(request).await
            })
            .await;
        let answer = running.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
        assert!(answer.body.ends_with("abc"));
    }
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_is_unavailable_or_of_unknown_outcome() {
    for layout in Layout::ALL {
        let running =
            layout.run(Limits { request_time_max: SHORT, ..Limits::default() }, |_| std::future::pending()).await;
        running.ask(GET).await.problem(503, "unavailable");
        let command = running.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(command.problem(504, "outcome-unknown")["retryable"], true);
        assert!(text_of(&running.metrics).contains("limited_total{policy=\"request-time\"} 2"));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut() {
    for layout in Layout::ALL {
        let limits = Limits { write_stall_max: SHORT, ..Limits::default() };
        let running = layout.run(limits, async |_| Response::new(vec![b'x'; 64 * 1024 * 1024].into())).await;
        let mut client = running.connect().await;
        client.send(GET).await;
        tokio::time::sleep(SHORT * 2 + Duration::from_secs(1)).await;
        assert!(text_of(&running.metrics).contains("limited_total{policy=\"write-stall\"} 1"));
        assert!(client.answer().await.is_none(), "the answer is not whole");
    }
}

#[tokio::test]
async fn connections_are_capped_for_the_process_and_for_a_peer() {
    for layout in Layout::ALL {
        for (limits, policy) in [
            (Limits { connections_max: 2, ..Limits::default() }, "connections"),
            (Limits { connections_per_peer_max: 2, ..Limits::default() }, "connections-per-peer"),
        ] {
            let running = layout.run(limits, echo).await;
            let (mut first, mut second) = (running.connect().await, running.connect().await);
            for client in [&mut first, &mut second] {
                client.send(GET).await;
                assert_eq!(client.answer().await.expect("an answer").status, 200);
            }
            running.connect().await.answer().await.expect("a refusal").problem(503, "unavailable");
            assert!(text_of(&running.metrics).contains(&format!("limited_total{{policy=\"{policy}\"}} 1")));

            // A place that is given back can be taken again.
            drop(first);
            let began = std::time::Instant::now();
            loop {
                let mut client = running.connect().await;
                client.try_send(GET).await;
                if client.answer().await.is_some_and(|answer| answer.status == 200) {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "the place was not given back");
            }
            second.send(GET).await;
            assert_eq!(second.answer().await.expect("an answer").status, 200);
        }
    }
}

#[tokio::test]
async fn only_loopback_addresses_are_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"] {
        let refused = Listener::bind(address.parse().expect("an address"), Limits::default());
        let message = refused.expect_err("a refusal").to_string();
        assert!(message.contains("under TLS, or for named proxies only"), "{message}");
    }
    let bound = Listener::bind("127.0.0.1:0".parse().expect("an address"), Limits::default()).expect("a free port");
    assert_ne!(bound.local_address().port(), 0);

    let taken = Listener::bind(bound.local_address(), Limits::default()).expect_err("it is taken");
    assert!(matches!(taken, Error::AddressInUse { address, .. } if address == bound.local_address()), "{taken}");
    assert!(taken.source().is_some());
}
