use std::{sync::Arc, time::Duration};

use http::Response;
use load_balancer::{Drained, Limits};
use tokio::{net::TcpStream, sync::Notify};

use crate::support::{GET, echo, run};

#[tokio::test]
async fn a_drain_closes_idle_connections_at_once() {
    let running = run(Limits::default(), echo);
    let (mut fresh, mut used) = (running.connect().await, running.connect().await);
    used.send(GET).await;
    used.answer().await.expect("an answer");
    let began = std::time::Instant::now();
    running.shutdown.request();
    assert_eq!(running.drained.await, Some(Drained { unfinished: 0 }));
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    fresh.closed().await;
    used.closed().await;
    assert!(TcpStream::connect(running.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let running = run(Limits::default(), {
        let (arrived, go_on) = (arrived.clone(), go_on.clone());
        move |_| {
            let (arrived, go_on) = (arrived.clone(), go_on.clone());
            async move {
                arrived.notify_one();
                go_on.notified().await;
                Response::new("done".into())
            }
        }
    });
    let mut client = running.connect().await;
    client.send(GET).await;
    arrived.notified().await;
    running.shutdown.request();
    tokio::time::sleep(Duration::from_millis(50)).await;
    go_on.notify_one();

    let answer = client.answer().await.expect("an answer");
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("done", "close"));
    client.closed().await;
    assert_eq!(running.drained.await, Some(Drained { unfinished: 0 }));
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_counts_what_it_left() {
    let limits = Limits { drain_time_max: Duration::from_millis(100), ..Limits::default() };
    let running = run(limits, |_| std::future::pending());
    let mut client = running.connect().await;
    client.send(GET).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.shutdown.request();
    assert_eq!(running.drained.await, Some(Drained { unfinished: 1 }));
    client.closed().await;
}
