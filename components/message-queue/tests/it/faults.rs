//! Servers that are killed, stopped and emptied, and messages that nobody of ours wrote.
#![allow(clippy::disallowed_types, reason = "speaks to the server as a stranger, below any client")]

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cluster::NatsServer;
use message_queue::{Error, JetStreamConfig, MessageQueue};
use model::Position;
use runtime::Runtime;

use crate::server::{SHARED, events, fresh, next, positions_until, publish_at_last, queue, stranger};

/// What a reader of one life got: every position at least once, and nothing before what it follows on.
fn assert_complete_and_in_order(positions: &[u64], last: u64) {
    let mut seen = 0;
    for &position in positions {
        assert!(position <= seen + 1, "{position} came after {seen}");
        seen = seen.max(position);
    }
    assert_eq!(seen, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_given_in_order_though_the_server_is_killed_again_and_again() {
    let mut server = NatsServer::start().expect("NATS starts");
    let config = JetStreamConfig { publish_timeout: Duration::from_millis(700), ..fresh(&server) };
    let publisher = queue(&config).await;
    let mut reader = publisher.subscribe(None).await.expect("it answers");
    let life = publisher.life().await;
    let runtime = Runtime::tokio();
    // Set once the server is killed no more: the batch that is published then is the last.
    let (is_over, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(u64::MAX)));
    let publishing = runtime.spawn("publisher", {
        let (runtime, queue, is_over, last) = (runtime.clone(), publisher.clone(), is_over.clone(), last.clone());
        async move {
            for first in (1..).step_by(100) {
                let is_last = is_over.load(Ordering::SeqCst);
                if is_last {
                    last.store(first + 99, Ordering::SeqCst);
                }
                publish_at_last(&queue, first..=first + 99).await;
                if is_last {
                    break;
                }
                runtime.sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let reading = runtime.spawn("reader", {
        let last = last.clone();
        async move {
            let mut positions: Vec<u64> = Vec::new();
            while positions.last() != Some(&last.load(Ordering::SeqCst)) {
                let deliveries = next(&mut reader).await.expect("nothing is wrong");
                positions.extend(deliveries.iter().map(|delivery| delivery.event.position.get()));
            }
            positions
        }
    });
    for _ in 0..3 {
        runtime.sleep(Duration::from_millis(150)).await;
        server.kill().expect("killed");
        runtime.sleep(Duration::from_millis(100)).await;
        server.restart().expect("started again");
    }
    is_over.store(true, Ordering::SeqCst);
    publishing.await.expect("it ended");
    let positions = reading.await.expect("it ended");
    let last = last.load(Ordering::SeqCst);
    assert_complete_and_in_order(&positions, last);
    assert!(last > 300, "it published before, between and after the kills, or {last} would be less");
    assert_eq!(publisher.life().await, life, "a restart is no new life");
    // From the beginning, too: what is stored is in order.
    let mut again = publisher.subscribe(None).await.expect("it answers");
    assert_complete_and_in_order(&positions_until(&mut again, last).await, last);
}

#[tokio::test]
async fn a_server_that_lost_everything_is_another_life_and_subscriptions_go_on_in_it() {
    let mut server = NatsServer::start().expect("NATS starts");
    let queue = queue(&fresh(&server)).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    let life = queue.publish(events(1..=50)).await.expect("published").life;
    positions_until(&mut reader, 50).await;
    server.kill().expect("killed");
    server.wipe().expect("wiped");
    server.restart().expect("started again");
    let next_life = loop {
        match queue.life().await {
            Ok(next) => break next,
            Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
        }
        Runtime::tokio().sleep(Duration::from_millis(20)).await;
    };
    assert_ne!(next_life, life);
    assert_eq!(queue.resume_after(Position::new(50)).await, Ok(None), "all of it may be wanted");
    publish_at_last(&queue, 31..=60).await;
    let mut positions = Vec::new();
    while positions.last() != Some(&60) {
        for delivery in next(&mut reader).await.expect("it goes on by itself") {
            assert_eq!(delivery.life, next_life);
            positions.push(delivery.event.position.get());
        }
    }
    assert_eq!(positions, (31..=60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_was_restored_from_an_older_copy_sends_the_relay_back_and_readers_go_on() {
    let mut server = NatsServer::start().expect("NATS starts");
    let queue = queue(&fresh(&server)).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    let life = queue.publish(events(1..=10)).await.expect("published").life;
    let (store, copy) = (server.store(), server.store().with_extension("copy"));
    server.stop().expect("stopped");
    copy_folder(&store, &copy);
    server.restart().expect("started again");
    publish_at_last(&queue, 11..=20).await;
    assert_eq!(positions_until(&mut reader, 20).await, (1..=20).collect::<Vec<_>>());
    server.stop().expect("stopped");
    server.wipe().expect("wiped");
    copy_folder(&copy, &store);
    server.restart().expect("started again");
    while queue.life().await != Ok(life) {
        Runtime::tokio().sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(queue.resume_after(Position::new(20)).await, Ok(Position::new(10)), "the same life, and less in it");
    publish_at_last(&queue, 11..=12).await;
    publish_at_last(&queue, 13..=25).await;
    let positions = positions_until(&mut reader, 25).await;
    assert!((21..=25).all(|position| positions.contains(&position)), "{positions:?}");
}

fn copy_folder(from: &Path, to: &Path) {
    let (from, to) = (from.to_str().expect("plain"), to.to_str().expect("plain"));
    let copied = Command::new("cp").args(["-a", from, to]).status().expect("it runs");
    assert!(copied.success());
}

#[tokio::test]
async fn a_server_that_stands_still_fails_a_publish_in_time_and_takes_it_later() {
    let server = NatsServer::start().expect("NATS starts");
    let limit = Duration::from_millis(300);
    let queue = queue(&JetStreamConfig { publish_timeout: limit, ..fresh(&server) }).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    publish_at_last(&queue, 1..=10).await;
    positions_until(&mut reader, 10).await;
    let runtime = Runtime::tokio();
    server.suspend().expect("stopped");
    let began = runtime.now();
    let refusal = queue.publish(events(11..=20)).await.expect_err("nobody acknowledges");
    let took = runtime.now() - began;
    assert!(matches!(refusal, Error::Unavailable { .. }), "{refusal}");
    assert!(took >= limit && took < 2 * limit, "{took:?}");
    runtime.sleep(Duration::from_secs(1)).await;
    server.resume().expect("it goes on");
    publish_at_last(&queue, 11..=20).await;
    assert_eq!(positions_until(&mut reader, 20).await, (11..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_strangers_message_is_reported_and_passed_over() {
    let config = fresh(&SHARED);
    let queue = queue(&config).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    queue.publish(events(1..=2)).await.expect("published");
    let subject = format!("{}.events.order.placed", config.application);
    let stranger = async_nats::jetstream::new(stranger(&SHARED).await);
    stranger.publish(subject, "hello".into()).await.expect("sent").await.expect("stored");
    queue.publish(events(3..=4)).await.expect("published");
    assert_eq!(positions_until(&mut reader, 2).await, [1, 2]);
    let told = next(&mut reader).await;
    assert!(matches!(told, Err(Error::Undecodable { .. })), "{told:?}");
    assert_eq!(positions_until(&mut reader, 4).await, [3, 4]);
    assert_eq!(queue.resume_after(Position::new(9)).await, Ok(Position::new(4)));
}

#[tokio::test]
async fn a_message_whose_headers_break_every_connection_is_reported_and_passed_over() {
    let config = fresh(&SHARED);
    let queue = queue(&config).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    queue.publish(events(1..=2)).await.expect("published");
    assert_eq!(positions_until(&mut reader, 2).await, [1, 2]);
    write_below_any_client(
        &format!("{}.events.order.placed", config.application),
        b"NATS/1.0\r\n\xff\xfe no colon\r\n\r\n",
    );
    publish_at_last(&queue, 3..=4).await;
    let told = next(&mut reader).await;
    assert!(matches!(told, Err(Error::Undecodable { .. })), "{told:?}");
    assert_eq!(positions_until(&mut reader, 4).await, [3, 4]);
    publish_at_last(&queue, 5..=6).await;
    assert_eq!(positions_until(&mut reader, 6).await, [5, 6]);
    // One that comes later meets it on its way, and one that looks for its place does.
    for after in [None, Position::new(2)] {
        let mut late = loop {
            // The other readers' connection is this one's too, and may just be broken.
            match queue.subscribe(after).await {
                Ok(late) => break late,
                Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
            }
            Runtime::tokio().sleep(Duration::from_millis(20)).await;
        };
        let mut positions = Vec::new();
        while positions.last() != Some(&6) {
            match next(&mut late).await {
                Ok(deliveries) => positions.extend(deliveries.iter().map(|delivery| delivery.event.position.get())),
                Err(error) => assert!(matches!(error, Error::Undecodable { .. }), "{error}"),
            }
        }
        assert_eq!(positions, [1, 2, 3, 4, 5, 6]);
    }
}

fn write_below_any_client(subject: &str, headers: &[u8]) {
    let address = SHARED.url().replace("nats://", "");
    let mut connection = TcpStream::connect(address).expect("connected");
    let mut answers = BufReader::new(connection.try_clone().expect("cloned"));
    let mut line = String::new();
    answers.read_line(&mut line).expect("it speaks first");
    let mut said = b"CONNECT {\"headers\":true,\"verbose\":false,\"protocol\":1}\r\n".to_vec();
    said.extend(format!("HPUB {subject} {0} {0}\r\n", headers.len()).bytes());
    said.extend(headers);
    said.extend(b"\r\nPING\r\n");
    connection.write_all(&said).expect("written");
    line.clear();
    while !line.starts_with("PONG") {
        line.clear();
        assert!(answers.read_line(&mut line).expect("it answers") > 0, "it hung up");
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}
