use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use load_balancer::{Drained, Limits};
use tokio::{net::TcpStream, sync::Notify, task::JoinSet};

use crate::support::{GET, Layout, echo};

#[tokio::test]
async fn a_drain_closes_idle_connections_at_once() {
    for layout in Layout::ALL {
        let running = layout.run(Limits::default(), echo).await;
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
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    for layout in Layout::ALL {
        let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let running = layout
            .run(Limits::default(), {
                let (arrived, go_on) = (arrived.clone(), go_on.clone());
                move |_| {
                    let (arrived, go_on) = (arrived.clone(), go_on.clone());
                    async move {
                        arrived.notify_one();
                        go_on.notified().await;
                        Response::new("done".into())
                    }
                }
            })
            .await;
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
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_counts_what_it_left() {
    for layout in Layout::ALL {
        let limits = Limits { drain_time_max: Duration::from_millis(100), ..Limits::default() };
        let running = layout.run(limits, |_| std::future::pending()).await;
        let mut client = running.connect().await;
        client.send(GET).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        running.shutdown.request();
        assert_eq!(running.drained.await, Some(Drained { unfinished: 1 }));
        client.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_answers_every_request_that_reached_a_gateway() {
    for layout in Layout::ALL {
        for _ in 0..10 {
            let reached = Arc::new(AtomicUsize::new(0));
            let running = layout
                .run(Limits::default(), {
                    let reached = reached.clone();
                    move |request| {
                        reached.fetch_add(1, Ordering::Relaxed);
                        echo(request)
                    }
                })
                .await;
            let mut clients = JoinSet::new();
            for _ in 0..16 {
                let mut client = running.connect().await;
                clients.spawn(async move {
                    let mut answers = 0;
                    while client.try_send(GET).await && client.answer().await.is_some() {
                        answers += 1;
                    }
                    answers
                });
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
            running.shutdown.request();
            assert_eq!(running.drained.await, Some(Drained { unfinished: 0 }));
            let answered: usize = clients.join_all().await.into_iter().sum();
            assert_eq!(answered, reached.load(Ordering::Relaxed));
            assert!(answered > 0);
        }
    }
}
