use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use bytes::Bytes;
use runtime::{Runtime, Shutdown};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::{CallError, Caller, CallerLimits, ClientTls, Endpoint, Instances, ServerLimits, ServerTls, serve};

use crate::{
    authority::{Authority, Files},
    calls::{Echo, echo},
};

/// A service that the gateway may call, and nobody else.
struct Service {
    address: SocketAddr,
    echo: Arc<Echo>,
}

fn service(tls: ServerTls) -> Service {
    let endpoint = Endpoint::bind_under_tls(([127, 0, 0, 1], 0).into(), tls).expect("a free port");
    let (runtime, address, echo) = (Runtime::tokio(), endpoint.address(), Arc::new(Echo::default()));
    let serving = serve(endpoint, echo.clone(), ServerLimits::default(), runtime.clone(), Shutdown::new());
    drop(runtime.spawn("server", serving));
    Service { address, echo }
}

/// A fresh connection each time: what is kept was let in before.
async fn call(address: SocketAddr, tls: Option<ClientTls>) -> Result<Bytes, CallError> {
    let instances = Instances::new(vec![address.to_string()]).expect("an address");
    let instances = match tls {
        Some(tls) => instances.under_tls(tls),
        None => instances,
    };
    let ended = Shutdown::new();
    let caller = Caller::start(&Runtime::tokio(), instances, CallerLimits::default(), ended.clone());
    let answer = caller.call(echo(Bytes::from_static(b"x"))).await;
    ended.request();
    answer
}

fn gateway(authority: &Authority) -> Files {
    authority.files(&["api-gateway"])
}

#[tokio::test]
async fn a_role_that_may_call_is_answered_and_one_certificate_may_bear_several() {
    let authority = Authority::new("ours");
    let service = service(authority.files(&["query-service", "command-service"]).tls().server(&["api-gateway"]));
    for caller in [gateway(&authority), authority.files(&["load-balancer", "api-gateway"])] {
        for called in ["command-service", "query-service"] {
            let answer = call(service.address, Some(caller.tls().client(called))).await;
            assert_eq!(answer, Ok(Bytes::from_static(b"x")), "{called}");
        }
    }
}

#[tokio::test]
async fn a_caller_who_cannot_prove_that_he_may_call_is_not_heard() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let service = service(authority.files(&["command-service"]).tls().server(&["api-gateway"]));
    let strange = gateway(&other);
    strange.copy("ca.pem", &gateway(&authority));
    for (who, caller) in [
        ("another role", authority.files(&["query-service"])),
        ("no role", authority.files(&[])),
        ("part of the role's name", authority.files(&["api-gateway-2"])),
        ("signed by somebody else", strange),
    ] {
        let refused = call(service.address, Some(caller.tls().client("command-service"))).await;
        assert!(refused.is_err(), "{who}: {refused:?}");
    }
    let plain = call(service.address, None).await;
    assert!(plain.is_err(), "plain text: {plain:?}");
    assert_eq!(service.echo.asked.load(SeqCst), 0, "nothing was handed on");
}

#[tokio::test]
async fn a_caller_tells_nothing_to_whoever_cannot_prove_the_role_that_is_called() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let caller = gateway(&authority).tls();
    for (files, says) in [
        (authority.files(&["query-service"]), "diptych://shop/query-service, not diptych://shop/command-service"),
        (authority.files(&[]), "bears no role"),
        (other.files(&["command-service"]), "not signed by an authority that is believed"),
    ] {
        let service = service(files.tls().server(&["api-gateway"]));
        let refused = call(service.address, Some(caller.client("command-service"))).await;
        assert!(matches!(&refused, Err(CallError::NotSent(said)) if said.contains(says)), "{says}: {refused:?}");
        assert_eq!(service.echo.asked.load(SeqCst), 0, "{says}");
    }
}

#[tokio::test]
async fn another_machine_is_not_called_in_plain_text() {
    let refused = call("192.0.2.1:80".parse().expect("an address"), None).await;
    assert!(matches!(&refused, Err(CallError::NotSent(said)) if said.contains("192.0.2.1")), "{refused:?}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_has_its_place_for_as_long_as_a_handshake_may_take() {
    let authority = Authority::new("ours");
    let tls = authority.files(&["command-service"]).tls().server(&["api-gateway"]);
    let service = service(tls.within(Duration::from_millis(500), 1));
    let mut silent = TcpStream::connect(service.address).await.expect("connected");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let caller = gateway(&authority).tls().client("command-service");
    let answer = call(service.address, Some(caller)).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"x")), "whoever comes second has waited for the place");
    assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)), "the first one's connection has ended");
}

#[tokio::test]
async fn what_is_no_tls_ends_the_connection() {
    let authority = Authority::new("ours");
    let service = service(authority.files(&["command-service"]).tls().server(&["api-gateway"]));
    let mut plain = TcpStream::connect(service.address).await.expect("connected");
    plain.write_all(b"GET /.diptych/ready HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    // An alert of TLS, at the most.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
}

#[tokio::test]
async fn files_that_change_hold_for_new_connections_and_wrong_ones_change_nothing() {
    let authority = Authority::new("ours");
    let files = authority.files(&["command-service"]);
    let tls = files.tls();
    tls.follow(&Runtime::tokio(), Shutdown::new());
    let service = service(tls.server(&["api-gateway"]));
    let caller = gateway(&authority).tls();
    let answers = async |called: &str| call(service.address, Some(caller.client(called))).await.is_ok();
    assert!(answers("command-service").await);

    // Longer than a look at the files takes to come.
    files.write("key.pem", "nothing");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(answers("command-service").await, "what cannot be used leaves what was there");

    authority.issue(&["query-service"], &files);
    let began = Instant::now();
    while !answers("query-service").await {
        assert!(began.elapsed() < Duration::from_secs(30), "the files are read again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!answers("command-service").await);
}

#[test]
fn a_file_that_will_not_do_is_named_with_its_setting() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    for (name, text, says) in [
        ("certificate.pem", "", "tls.certificate_path: "),
        ("certificate.pem", "nothing", "has no certificate in PEM"),
        ("key.pem", "nothing", "tls.key_path: "),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", "tls.ca_path: "),
    ] {
        let files = gateway(&authority);
        files.write(name, text);
        let said = files.read().expect_err("refused").to_string();
        assert!(said.contains(says) && said.contains(name), "{said}");
    }
    let files = gateway(&authority);
    files.copy("key.pem", &gateway(&other));
    let said = files.read().expect_err("refused").to_string();
    assert!(said.contains("does not go with the certificate in tls.certificate_path"), "{said}");
    let said = gateway(&authority).tls().proves("command-service").expect_err("refused").to_string();
    assert!(said.contains("subjectAltName=URI:diptych://shop/command-service"), "{said}");
    assert!(gateway(&authority).tls().proves("api-gateway").is_ok());
}
