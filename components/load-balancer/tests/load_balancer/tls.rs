use std::{sync::Arc, time::Duration};

use cluster::Authority;
use load_balancer::{Config, Limits, Metrics, Networks, Protection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use wire::{Authorities, Identity, PemFile, ServerTls, Stream};

use crate::support::{Client, GET, Running, echo, gateway, over_with, run_protected, text_of};

fn file(path: std::path::PathBuf) -> PemFile {
    PemFile { setting: "a test's", path }
}

/// One under TLS, whose certificate is for this name.
fn under_tls(authority: &Authority, name: &str, limits: Limits) -> Running {
    let issued = authority.issue(&[name]).expect("issued");
    let identity = Identity::read(file(issued.certificate), file(issued.key)).expect("what was issued");
    let protection = Protection { tls: Some(ServerTls::public(&identity)), ..Protection::default() };
    run(limits, protection, Config::default())
}

fn run(limits: Limits, protection: Protection, config: Config) -> Running {
    let metrics = Metrics::new();
    let load_balancer = over_with(vec![gateway("one", echo)], &metrics, config);
    run_protected(limits, protection, load_balancer, metrics)
}

async fn connect(running: &Running, believed: &Authority) -> std::io::Result<Client> {
    let authorities = Authorities::read(file(believed.certificate())).expect("an authority");
    let socket = TcpStream::connect(running.address).await?;
    let name = ServerName::try_from("shop.example").expect("a name");
    let stream = TlsConnector::from(Arc::new(authorities.client())).connect(name, socket).await?;
    Ok(Client::over(Stream::Tls(Box::new(stream.into()))))
}

#[tokio::test]
async fn requests_come_under_tls_one_after_the_other_and_instances_are_told() {
    let authority = Authority::new("ours").expect("an authority");
    let running = under_tls(&authority, "shop.example", Limits::default());
    let mut client = connect(&running, &authority).await.expect("a handshake");
    for _ in 0..3 {
        client.send(GET).await;
        let answer = client.answer().await.expect("an answer");
        assert!(answer.status == 200 && answer.body.contains("for=127.0.0.1;proto=https"), "{answer:?}");
    }
    client.send("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(client.answer().await.expect("a refusal").status, 400);
    running.shutdown.request();
    assert_eq!(running.drained.await.map(|drained| drained.unfinished), Some(0));
}

#[tokio::test]
async fn clients_that_believe_somebody_else_or_ask_for_another_name_break_off() {
    let (authority, other) = (Authority::new("ours").expect("one"), Authority::new("another").expect("one"));
    let running = under_tls(&authority, "shop.example", Limits::default());
    assert!(connect(&running, &other).await.is_err());
    let elsewhere = under_tls(&authority, "elsewhere.example", Limits::default());
    assert!(connect(&elsewhere, &authority).await.is_err());
}

#[tokio::test]
async fn plain_text_and_silence_end_a_connection_that_is_to_be_under_tls() {
    let authority = Authority::new("ours").expect("an authority");
    let limits = Limits { handshake_time_max: Duration::from_millis(300), ..Limits::default() };
    let running = under_tls(&authority, "shop.example", limits);
    let mut plain = TcpStream::connect(running.address).await.expect("connected");
    plain.write_all(GET.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    let mut silent = TcpStream::connect(running.address).await.expect("connected");
    assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)));
    let text = text_of(&running.metrics);
    assert!(text.contains("diptych_load_balancer_limited_total{policy=\"handshake\"} 2"), "{text}");
}

#[tokio::test]
async fn behind_proxies_nobody_else_is_let_in_and_what_they_say_is_believed() {
    let claim = "GET / HTTP/1.1\r\nHost: shop\r\nForwarded: for=192.0.2.9;proto=https\r\n\r\n";
    for (proxies, is_let_in) in [("10.0.0.0/8, 127.0.0.1", true), ("10.0.0.0/8", false)] {
        let proxies: Networks = proxies.parse().expect("networks");
        let config = Config { trusted_peers: proxies.clone(), ..Config::default() };
        // As many as one address may have are no limit to a proxy, who has all clients' connections.
        let limits = Limits { connections_per_peer_max: 1, ..Limits::default() };
        let running = run(limits, Protection { proxies, ..Protection::default() }, config);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut client = running.connect().await;
            client.try_send(claim).await;
            let answer = client.answer().await;
            assert_eq!(answer.is_some(), is_let_in, "{answer:?}");
            let body = answer.map_or_else(String::new, |answer| answer.body);
            assert_eq!(body.contains("for=192.0.2.9;proto=https"), is_let_in, "{body}");
            held.push(client);
        }
    }
}
