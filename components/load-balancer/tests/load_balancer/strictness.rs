use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use load_balancer::Limits;

use crate::support::{GET, Layout, echo};

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_and_never_forwarded() {
    for layout in Layout::ALL {
        let forwarded = Arc::new(AtomicUsize::new(0));
        let running = layout
            .run(Limits::default(), {
                let forwarded = forwarded.clone();
                move |request| {
                    forwarded.fetch_add(1, Ordering::Relaxed);
                    echo(request)
                }
            })
            .await;
        let cases = [
            (
                "CL then TE",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "TE then CL",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
            ),
            ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"),
            ("one length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
            ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd"),
            ("signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"),
            ("chunked in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ("unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
            ("space before colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            ("length after a space", "POST / HTTP/1.1\r\nHost: a\r\n Content-Length: 4\r\n\r\nabcd"),
            ("folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
            ("bare LF", "GET / HTTP/1.1\nHost: a\n\n"),
            ("bare LF in the middle", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            ("bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n"),
            ("bare CR in the target", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
            ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
            ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
            ("no host", "GET / HTTP/1.1\r\n\r\n"),
            ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            ("no version", "GET /\r\n\r\n"),
            ("version 3", "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
            ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("control in the method", "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("no request", "\x16\x03\x01\x02\n"),
            ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ];
        for (name, bytes) in cases {
            let mut client = running.connect().await;
            client.send(bytes).await;
            let answer = client.answer().await.unwrap_or_else(|| panic!("{name}: no answer"));
            println!("{name}");
            answer.problem(400, "malformed-request");
            assert_eq!(answer.header("connection"), "close", "{name}");
            client.closed().await;
        }
        assert_eq!(forwarded.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_that_were_owed_before_it() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        for bad in ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/9.9\r\nHost: a\r\n\r\n"] {
            let mut client = running.connect().await;
            client.send(format!("{GET}{GET}{bad}{GET}")).await;
            for _ in 0..2 {
                assert_eq!(client.answer().await.expect("an answer").status, 200);
            }
            client.answer().await.expect("a refusal").problem(400, "malformed-request");
            client.closed().await;
        }
    }
}

#[tokio::test]
async fn broken_chunks_do_not_become_a_request() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
        for chunks in ["zz\r\nabc\r\n0\r\n\r\n", "3\nabc\n0\n\n", "-1\r\n", "ffffffffffffffffff\r\n"] {
            let mut client = running.connect().await;
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")).await;
            // The gateway is told that the body broke off, and says so: 400 in its own words.
            let status = client.answer().await.map(|answer| answer.status);
            assert!(matches!(status, None | Some(400)), "{chunks:?}: {status:?}");
        }
    }
}
