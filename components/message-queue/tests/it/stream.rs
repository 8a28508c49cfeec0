//! Streams and servers that are not what the queue needs are refused, and left as they are.

use std::{process::Command, time::Duration};

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use cluster::{NatsServer, Program};
use message_queue::{Credentials, Error, JetStreamConfig, JetStreamQueue, MessageQueue, Metrics};
use model::Position;

use prometheus_client::registry::Registry;
use runtime::Runtime;

use crate::server::{SHARED, connect, events, fresh, next, positions_until, publish_at_last, queue, stranger};

#[tokio::test]
async fn a_stream_with_another_setting_is_refused_by_its_name_and_left_alone() {
    let jetstream = async_nats::jetstream::new(stranger(&SHARED).await);
    let config = fresh(&SHARED);
    let good = Config {
        name: config.stream.clone(),
        subjects: vec![format!("{}.events.>", config.application)],
        num_replicas: 1,
        discard: DiscardPolicy::New,
        max_bytes: config.stream_bytes_max,
        max_age: config.stream_age_max,
        duplicate_window: config.duplicate_window,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    };
    jetstream.create_stream(good.clone()).await.expect("made");
    queue(&config).await;
    let others: [(&str, Config); 8] = [
        ("storage", Config { storage: StorageType::Memory, ..good.clone() }),
        ("discard", Config { discard: DiscardPolicy::Old, ..good.clone() }),
        ("max_bytes", Config { max_bytes: 1000, ..good.clone() }),
        ("max_age", Config { max_age: Duration::from_secs(200), ..good.clone() }),
        ("duplicate_window", Config { duplicate_window: Duration::from_secs(1), ..good.clone() }),
        ("deny_delete", Config { deny_delete: false, ..good.clone() }),
        ("deny_purge", Config { deny_purge: false, ..good.clone() }),
        ("subjects", Config { subjects: vec![format!("{}.other.>", config.application)], ..good.clone() }),
    ];
    for (setting, other) in others {
        jetstream.delete_stream(&config.stream).await.expect("deleted");
        let made = jetstream.create_stream(other).await.expect("made").cached_info().config.clone();
        let refusal = connect(&config).await.err().expect("it is another stream");
        assert!(
            matches!(refusal, Error::OtherStream { setting: named, .. } if named == setting),
            "{setting}: {refusal}"
        );
        let found = jetstream.get_stream(&config.stream).await.expect("it is there").cached_info().clone();
        assert_eq!((found.config, found.state.messages), (made, 0), "{setting}");
    }
}

#[tokio::test]
async fn fewer_copies_than_are_wanted_are_refused_by_a_server_alone() {
    let config = JetStreamConfig { replicas: 3, ..fresh(&SHARED) };
    let refusal = connect(&config).await.err().expect("one server cannot have three copies");
    assert!(matches!(refusal, Error::NoStream { key: "message_queue.replicas", .. }), "{refusal}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    let server = NatsServer::start_without_jetstream().expect("NATS starts");
    let refusal = connect(&fresh(&server)).await.err().expect("it keeps no streams");
    assert!(matches!(refusal, Error::NoJetStream { .. }), "{refusal}");
}

/// A server that lets in those users only.
fn with_users(users: &str) -> NatsServer {
    let mut server = NatsServer::start().expect("NATS starts");
    server.stop().expect("stopped");
    server.configure(users);
    server.restart().expect("started again");
    server
}

fn as_user(server: &NatsServer, user: &str, password: &str) -> JetStreamConfig {
    let credentials = Credentials::Password { user: user.to_owned(), password: password.to_owned() };
    JetStreamConfig { credentials, publish_timeout: Duration::from_millis(500), ..fresh(server) }
}

#[tokio::test]
async fn wrong_credentials_are_told_from_a_server_that_is_not_there() {
    let server = with_users("authorization { users: [{ user: relay, password: secret }] }\n");
    let wrong = as_user(&server, "relay", "guess");
    let refusal = connect(&wrong).await.err().expect("that is not the password");
    assert!(matches!(refusal, Error::Credentials { .. }), "{refusal}");
    assert!(!format!("{refusal} {refusal:?} {wrong:?}").contains("guess"), "no secret is printed");
    queue(&as_user(&server, "relay", "secret")).await;
}

#[tokio::test]
async fn a_queue_that_was_refused_for_a_while_works_once_it_is_let_in_again() {
    let mut server = with_users("authorization { users: [{ user: relay, password: secret }] }\n");
    let queue = queue(&as_user(&server, "relay", "secret")).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    queue.publish(events(1..=5)).await.expect("published");
    positions_until(&mut reader, 5).await;
    for password in ["other", "secret"] {
        server.stop().expect("stopped");
        server.configure(&format!("authorization {{ users: [{{ user: relay, password: {password} }}] }}\n"));
        server.restart().expect("started again");
        // For a few attempts to reconnect.
        Runtime::tokio().sleep(Duration::from_millis(300)).await;
        let is_let_in = queue.life().await.is_ok();
        assert!(!is_let_in || password == "secret", "it is refused meanwhile");
    }
    publish_at_last(&queue, 6..=9).await;
    assert_eq!(positions_until(&mut reader, 9).await, [6, 7, 8, 9]);
}

#[tokio::test]
async fn the_users_of_the_sample_configuration_may_do_their_work_and_no_more() {
    let sample = include_str!("../../../../deploy/nats/nats-2.9.conf");
    let users = &sample[sample.find("authorization").expect("it has users")..];
    let server = with_users(&users.replace("$NATS_RELAY_PASSWORD", "one").replace("$NATS_HANDLER_PASSWORD", "two"));
    let as_relay = as_user(&server, "relay", "one");
    let as_handler =
        JetStreamConfig { credentials: as_user(&server, "handler", "two").credentials, ..as_relay.clone() };
    assert!(connect(&as_handler).await.is_err(), "it makes no stream");
    let relay = queue(&as_relay).await;
    let handler = queue(&as_handler).await;
    let mut reader = handler.subscribe(None).await.expect("it may read");
    relay.publish(events(1..=600)).await.expect("it may publish");
    assert_eq!(positions_until(&mut reader, 600).await.len(), 600);
    assert_eq!(relay.resume_after(Position::new(900)).await, Ok(Position::new(600)));
    assert!(handler.subscribe(Position::new(599)).await.is_ok(), "it may look for its place");
    assert!(handler.publish(events(601..=601)).await.is_err(), "it publishes nothing");
    let stranger = async_nats::connect(server.url()).await;
    assert!(stranger.is_err(), "nobody else is let in");
}

#[tokio::test]
async fn a_stream_that_is_deleted_while_it_is_used_begins_another_life_and_all_go_on() {
    let config = fresh(&SHARED);
    let queue = queue(&config).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    let life = queue.publish(events(1..=5)).await.expect("published").life;
    assert_eq!(positions_until(&mut reader, 5).await, [1, 2, 3, 4, 5]);
    let jetstream = async_nats::jetstream::new(stranger(&SHARED).await);
    jetstream.delete_stream(&config.stream).await.expect("deleted");
    assert!(queue.publish(events(6..=7)).await.is_err(), "nobody stores them");
    let next_life = queue.life().await.expect("it is made again");
    assert_ne!(next_life, life);
    assert_eq!(queue.resume_after(Position::new(5)).await, Ok(None), "as far back as it may");
    assert_eq!(queue.publish(events(1..=7)).await.expect("published").life, next_life);
    let deliveries = next(&mut reader).await.expect("it goes on by itself");
    assert!(deliveries.iter().all(|delivery| delivery.life == next_life));
    assert_eq!(deliveries[0].event.position.get(), 1);
}

#[tokio::test]
async fn a_stream_that_is_made_anew_between_two_batches_is_noticed_at_the_acknowledgement() {
    let config = fresh(&SHARED);
    let queue = queue(&config).await;
    queue.publish(events(1..=5)).await.expect("published");
    let jetstream = async_nats::jetstream::new(stranger(&SHARED).await);
    let made = jetstream.get_stream(&config.stream).await.expect("it is there").cached_info().config.clone();
    jetstream.delete_stream(&config.stream).await.expect("deleted");
    jetstream.create_stream(made).await.expect("made");
    assert_eq!(queue.publish(events(6..=7)).await, Err(Error::WrongLife), "stored, but not where 1 to 5 are");
    assert!(queue.publish(events(6..=7)).await.is_ok());
}

#[tokio::test]
async fn a_consumer_that_is_deleted_on_the_server_is_made_again_where_it_was() {
    let config = fresh(&SHARED);
    let queue = queue(&config).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    queue.publish(events(1..=5)).await.expect("published");
    assert_eq!(positions_until(&mut reader, 5).await, [1, 2, 3, 4, 5]);
    let jetstream = async_nats::jetstream::new(stranger(&SHARED).await);
    let stream = jetstream.get_stream(&config.stream).await.expect("it is there");
    let names: Vec<_> = futures_util::StreamExt::collect(stream.consumer_names()).await;
    assert_eq!(names.len(), 1, "one consumer a subscription");
    stream.delete_consumer(names[0].as_ref().expect("named")).await.expect("deleted");
    queue.publish(events(6..=9)).await.expect("published");
    assert_eq!(positions_until(&mut reader, 9).await, [6, 7, 8, 9]);
}

#[test]
fn the_old_sample_configuration_is_one_that_the_old_server_takes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nats/");
    let check = |file: &str| {
        let program = Program::Nats.find().expect("NATS is installed");
        let output = Command::new(program)
            .args(["-t", "-c"])
            .arg(format!("{folder}{file}"))
            .envs([("NATS_RELAY_PASSWORD", "a"), ("NATS_HANDLER_PASSWORD", "b")])
            .output()
            .expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_good, said) = check("nats-2.9.conf");
    assert!(is_good, "{said}");
    // This server reads the new one no further than to what it does not know: without that they are the same.
    let settings = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(format!("{folder}{file}")).expect("it is there");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.filter(|line| !line.starts_with("sync_interval")).map(str::to_owned).collect()
    };
    assert_eq!(settings("nats.conf"), settings("nats-2.9.conf"));
    assert!(check("nats.conf").0 || check("nats.conf").1.contains("sync_interval"));
}

#[tokio::test]
async fn copies_and_readers_that_began_anew_are_metrics() {
    let (config, metrics) = (fresh(&SHARED), Metrics::default());
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let shown = |line: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it is text");
        assert!(text.contains(line), "{line} is missing in {text}");
    };
    let queue = JetStreamQueue::connect(Runtime::tokio(), config.clone(), metrics).await.expect("connected");
    shown("diptych_message_queue_stream_replicas 1");
    let mut reader = queue.subscribe(None).await.expect("it answers");
    queue.publish(events(1..=5)).await.expect("published");
    assert_eq!(reader.next(2).await.expect("nothing is wrong").len(), 2);
    shown("diptych_message_queue_pending_messages 3");
    shown("diptych_message_queue_consumer_resets_total 0");
    let jetstream = async_nats::jetstream::new(stranger(&SHARED).await);
    jetstream.delete_stream(&config.stream).await.expect("deleted");
    assert!(queue.publish(events(6..=6)).await.is_err(), "nobody stores it");
    shown("diptych_message_queue_publish_failures_total 1");
    publish_at_last(&queue, 1..=6).await;
    // What came before the stream was deleted may come first.
    positions_until(&mut reader, 6).await;
    shown("diptych_message_queue_consumer_resets_total 1");
    drop(reader);
    shown("diptych_message_queue_pending_messages 0");
}
