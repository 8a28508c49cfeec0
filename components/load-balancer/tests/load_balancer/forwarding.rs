use http::Response;
use load_balancer::{Config, Limits, Metrics};

use crate::support::{GET, Layout, echo, gateway, over, over_with, run_over};

#[tokio::test]
async fn a_request_reaches_the_gateway_with_its_meaning_and_without_its_connection() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        let answer = running
            .ask(
                "POST /commands/order/o-1/place?x=%20y HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, X-Secret\r\n\
             X-Secret: 1\r\nTE: trailers\r\nX-Diptych-Principal: root\r\nX-Forwarded-For: 10.1.2.3\r\n\
             Forwarded: for=10.1.2.3\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
             tracestate: rojo=1\r\ntracestate: congo=2\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n\
             {\"a\":\"b\"}",
            )
            .await;
        assert_eq!(answer.status, 200);
        let (head, body) = answer.body.split_once("\n\n").expect("a head and a body");
        assert_eq!(body, r#"{"a":"b"}"#);
        let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("x-request-id")).collect();
        lines[1..].sort_unstable();
        assert_eq!(
            lines,
            [
                "POST /commands/order/o-1/place?x=%20y",
                "content-length: 9",
                "content-type: application/json",
                "forwarded: for=127.0.0.1;proto=http",
                "host: shop",
                "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "tracestate: congo=2",
                "tracestate: rojo=1",
                "via: 1.1 diptych",
            ]
        );
        assert_eq!(answer.header("via"), "1.1 diptych");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_whom_it_speaks_for() {
    for layout in Layout::ALL {
        let metrics = Metrics::new();
        let config = Config { trusted_peers: "127.0.0.0/8".parse().expect("a network"), ..Config::default() };
        let load_balancer = over_with(layout.gateways(&metrics, echo).await, &metrics, config);
        let running = run_over(Limits::default(), load_balancer, metrics);
        let answer = running
            .ask("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=10.1.2.3\r\nX-Forwarded-For: 10.1.2.3\r\n\r\n")
            .await;
        for line in
            ["forwarded: for=10.1.2.3\n", "forwarded: for=127.0.0.1;proto=http\n", "x-forwarded-for: 10.1.2.3\n"]
        {
            assert!(answer.body.contains(line), "{line} in {}", answer.body);
        }
    }
}

#[tokio::test]
async fn an_answer_loses_what_was_about_the_inner_connection() {
    for layout in Layout::ALL {
        let running = layout
            .run(Limits::default(), async |_| {
                Response::builder()
                    .header("connection", "x-inner")
                    .header("x-inner", "1")
                    .header("keep-alive", "timeout=1")
                    .header("etag", "\"3\"")
                    .body("row".into())
                    .expect("a response")
            })
            .await;
        let answer = running.ask(GET).await;
        assert_eq!((answer.body.as_str(), answer.header("etag")), ("row", "\"3\""));
        for gone in ["connection", "x-inner", "keep-alive"] {
            assert!(!answer.headers.contains_key(gone), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_if_it_is_a_uuid_and_made_otherwise() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        let sent = "0199ab10-5c1e-7d04-9e6b-2f6d1c0a9b11";
        for (id, taken) in [(sent, true), ("17", false)] {
            let answer = running.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n")).await;
            let returned = answer.header("x-request-id");
            assert_eq!(returned == id, taken, "{id}");
            assert_eq!(returned.len(), 36);
            assert!(answer.body.contains(&format!("x-request-id: {returned}\n")), "the gateway sees the id returned");
        }
    }
}

#[tokio::test]
async fn a_request_that_was_here_before_goes_no_further() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        let answer = running.ask("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 proxy, 1.1 diptych\r\n\r\n").await;
        assert_eq!(answer.problem(508, "loop-detected")["retryable"], false);
        assert_eq!(running.ask("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 proxy\r\n\r\n").await.status, 200);
    }
}

#[tokio::test]
async fn without_a_ready_gateway_the_service_is_unavailable() {
    let metrics = Metrics::new();
    let instance = gateway("one", echo);
    instance.set_ready(false);
    let running = run_over(Limits::default(), over(vec![instance.clone()], &metrics), metrics);
    let mut client = running.connect().await;
    let traced =
        "GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    client.send(traced).await;
    let problem = client.answer().await.expect("an answer").problem(503, "unavailable");
    assert_eq!(problem["retryable"], true);
    assert_eq!(problem["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    // A refusal of the load balancer's own leaves the connection as it was.
    instance.set_ready(true);
    client.send(GET).await;
    assert_eq!(client.answer().await.expect("an answer").status, 200);
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        let mut client = running.connect().await;
        let mut bytes = String::new();
        for number in 0..50 {
            bytes += &format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab{}", number % 10);
        }
        // Cut where it hurts: in a head and in a body.
        for piece in [&bytes[..100], &bytes[100..107], &bytes[107..]] {
            client.send(piece).await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        for number in 0..50 {
            let answer = client.answer().await.expect("an answer");
            assert!(answer.body.starts_with(&format!("POST /{number}\n")), "{}", answer.body);
            assert!(answer.body.ends_with(&format!("\nab{}", number % 10)), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_body_in_chunks_arrives_whole_and_ends_its_connection() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        let mut client = running.connect().await;
        client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n")
        .await;
        let answer = client.answer().await.expect("an answer");
        assert!(answer.body.ends_with("\n\nabcdefg"), "{}", answer.body);
        // Where there is another connection, it has a framing of its own.
        let is_framed_anew = matches!(layout, Layout::Elsewhere);
        assert_eq!(answer.body.contains("transfer-encoding"), is_framed_anew, "{}", answer.body);
        assert_eq!(answer.header("connection"), "close");
        client.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_it_will_say_still_gets_its_answer() {
    for layout in Layout::ALL {
        let running = layout
            .run(Limits::default(), async |_| {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                Response::new("late".into())
            })
            .await;
        let mut client = running.connect().await;
        client.send(GET).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.expect("half a connection");
        assert_eq!(client.answer().await.expect("an answer").body, "late");
    }
}

/// What the gateway sees of a request, or the load balancer's refusal.
enum Seen {
    /// This line, and none that begins like that.
    With(&'static str, &'static str),
    Refused(u16, &'static str),
}

#[tokio::test]
async fn a_request_is_rebuilt_by_the_rules_of_a_proxy() {
    use Seen::{Refused, With};
    let table = [
        (
            "a target with an authority",
            "GET http://other.example:81/x?y HTTP/1.1\r\nHost: shop\r\n\r\n",
            With("host: other.example:81\n", "host: shop"),
        ),
        ("a target with an authority only", "GET http://shop HTTP/1.1\r\nHost: shop\r\n\r\n", With("GET /\n", "x")),
        (
            "a target that says who asks",
            "GET http://me@shop/x HTTP/1.1\r\nHost: shop\r\n\r\n",
            Refused(400, "malformed-request"),
        ),
        ("the server itself", "OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", With("OPTIONS *\n", "GET")),
        ("a tunnel", "CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n", Refused(400, "malformed-request")),
        (
            "another protocol",
            "GET /x HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            With("GET /x\n", "upgrade"),
        ),
        (
            "HTTP/2 in plain text",
            "GET /x HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            With("GET /x\n", "http2-settings"),
        ),
        (
            "trailers",
            "POST /x HTTP/1.1\r\nHost: shop\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-Diptych-Principal: root\r\n\r\n",
            With("\n\nabc", "x-"),
        ),
        (
            "Host among what is about the connection",
            "GET /x HTTP/1.1\r\nHost: shop\r\nConnection: Host, Via, X-Request-Id\r\n\r\n",
            With("host: shop\n", "connection"),
        ),
        ("the version that came", "GET /x HTTP/1.0\r\nHost: shop\r\n\r\n", With("via: 1.0 diptych\n", "via: 1.1")),
        (
            "proxies before",
            "GET /x HTTP/1.1\r\nHost: shop\r\nVia: 1.0 fred\r\n\r\n",
            With("via: 1.0 fred\nvia: 1.1 diptych\n", "proxy"),
        ),
        (
            "credentials for a proxy",
            "GET /x HTTP/1.1\r\nHost: shop\r\nProxy-Authorization: Basic eA==\r\nAuthorization: Bearer b\r\n\r\n",
            With("authorization: Bearer b\n", "proxy-"),
        ),
        ("a loop", "GET /x HTTP/1.1\r\nHost: shop\r\nVia: 1.0 DIPTYCH\r\n\r\n", Refused(508, "loop-detected")),
    ];
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        for (name, request, seen) in &table {
            println!("{name}");
            let answer = running.ask(request).await;
            match seen {
                Refused(status, code) => drop(answer.problem(*status, code)),
                With(with, without) => {
                    assert_eq!(answer.status, 200, "{name}");
                    assert!(answer.body.contains(with), "{name}: {}", answer.body);
                    let own = ["x-request-id"];
                    let mut lines = answer.body.lines().filter(|line| !own.iter().any(|own| line.starts_with(own)));
                    assert!(!lines.any(|line| line.starts_with(without)), "{name}: {}", answer.body);
                    assert_eq!(answer.header("via"), "1.1 diptych", "{name}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_gateway_that_speaks_of_another_protocol_is_not_believed() {
    let running = Layout::Elsewhere
        .run(Limits::default(), async |_| {
            Response::builder().status(101).header("upgrade", "x").body("".into()).expect("a response")
        })
        .await;
    running.ask(GET).await.problem(503, "unavailable");
}
