//! A system whose processes prove their roles to each other, with certificates made as docs/operating.md says.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use cluster::{Authority, NatsServer, Postgres};
use node::{Role, Serve, Settings};
use runtime::{Runtime, Shutdown};
use testkit::domain;
use wire::{By, Call, CallError, Caller, CallerLimits, Instances, MutualTls, PemFile, Sending};

use crate::{
    apart::Apart,
    system::{send, wait_until},
};

/// Runs the commands that a section of docs/operating.md has for making certificates, as they stand there but for the
/// application's name.
fn make_certificates(folder: &Path) {
    let text = include_str!("../../../docs/operating.md");
    let (_, section) = text.split_once("## TLS between processes").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("commands");
    let (commands, _) = block.split_once("```").expect("their end");
    let commands = commands.replace("://shop/", "://tested/");
    let made = Command::new("sh").args(["-eu", "-c", &commands]).current_dir(folder).output().expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Settings of a process with one role, whose files are in this folder.
fn settle(folder: &Path, role: &str, settings: &mut Settings) {
    let path = |name: String| folder.join(name).display().to_string();
    settings.tls.certificate_path = path(format!("{role}.pem"));
    settings.tls.key_path = path(format!("{role}.key"));
    settings.tls.ca_path = path("ca.pem".to_owned());
}

fn mutual(folder: &Path, role: &str) -> MutualTls {
    let file = |name: String| PemFile { setting: "a test's", path: folder.join(name) };
    let (certificate, key, ca) = (file(format!("{role}.pem")), file(format!("{role}.key")), file("ca.pem".to_owned()));
    MutualTls::read("tested", certificate, key, ca).expect("what the commands have made")
}

/// One call to `address` as `caller`, to whoever has the role `called`.
async fn call(folder: &Path, caller: &str, called: &str, address: SocketAddr) -> Result<(), CallError> {
    let instances = Instances::new(vec![address.to_string()]).expect("an address");
    let instances = instances.under_tls(mutual(folder, caller).client(called));
    let ended = Shutdown::new();
    let caller = Caller::start(&Runtime::tokio(), instances, CallerLimits::default(), ended.clone());
    let (path, frame, patience) = ("/no-such-call", bytes::Bytes::new(), Duration::from_secs(10));
    let call = Call { by: By::Turn, sending: Sending::Once, path, frame, patience, patience_in_all: patience };
    let answer = caller.call(call).await;
    ended.request();
    match answer {
        // It was read: there is no such call.
        Err(CallError::Refused(_)) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

/// What comes back of a port that is under TLS: an alert, or nothing.
fn in_plain_text(address: SocketAddr) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    stream.write_all(b"GET /queries/ledger/log/all HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // A connection that is reset has brought nothing either.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn all_roles_apart_under_tls_and_who_has_another_role_is_not_let_in() {
    let folder = tempfile::tempdir().expect("a folder");
    make_certificates(folder.path());
    let servers = Authority::new("servers").expect("an authority");
    let issued = servers.issue(&["127.0.0.1"]).expect("issued");
    let (certificate, key, ca) = (&issued.certificate, &issued.key, servers.certificate());
    let postgres = || Postgres::new().tls(&issued).start().expect("a PostgreSQL");
    let queue = NatsServer::start_configured(&format!(
        "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}\n"
    ));
    let (of_roles, client) = (folder.path().to_owned(), servers.issue(&["a client"]).expect("issued"));
    let apart = Apart::over([postgres(), postgres()], queue.expect("a NATS"), move |role, settings| {
        if role != Role::EventHandler {
            settle(&of_roles, role.name(), settings);
        }
        let ca = ca.display().to_string();
        settings.command_database.ca_path.clone_from(&ca);
        settings.query_database.ca_path.clone_from(&ca);
        settings.message_queue.ca_path = ca;
        settings.message_queue.certificate_path = client.certificate.display().to_string();
        settings.message_queue.key_path = client.key.display().to_string();
    });
    let system = apart.system();
    let answer = system.ask("POST", "/commands/account/a-1/open", "", r#"{"owner":"Ada"}"#);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    system.ledger(1);
    assert_eq!(apart.events(), 1);

    let address = |role: Role| system.all.iter().find_map(|serve| serve.address(role)).expect("it has a listener");
    let threads = tokio::runtime::Runtime::new().expect("threads");
    threads.block_on(async {
        use Role::{ApiGateway, CommandService, QueryService};
        for (caller, called, is_let_in) in [
            ("api-gateway", CommandService, true),
            ("api-gateway", QueryService, true),
            ("load-balancer", ApiGateway, true),
            ("load-balancer", CommandService, false),
            ("load-balancer", QueryService, false),
            ("api-gateway", ApiGateway, false),
            ("command-service", QueryService, false),
            ("query-service", CommandService, false),
        ] {
            let answer = call(folder.path(), caller, called.name(), address(called)).await;
            assert_eq!(answer.is_ok(), is_let_in, "{caller} calls {called:?}: {answer:?}");
        }
        let posing = call(folder.path(), "api-gateway", "command-service", address(QueryService)).await;
        assert!(matches!(&posing, Err(CallError::NotSent(said)) if said.contains("query-service")), "{posing:?}");
    });
    assert!(!in_plain_text(address(Role::ApiGateway)).contains("HTTP/1.1"), "nothing is answered");
    system.stop(&apart);
}

#[test]
fn certificates_that_do_not_prove_the_roles_of_the_process_are_refused_at_the_start() {
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let authority = Authority::new("ours").expect("an authority");
    let issued = authority.issue(&["diptych://tested/api-gateway"]).expect("issued");
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings::default();
    (settings.admin.listen, settings.load_balancer.listen, settings.api_gateway.listen) = (free, free, free);
    settings.load_balancer.api_gateways = "127.0.0.1:9".to_owned();
    settings.tls.certificate_path = issued.certificate.display().to_string();
    settings.tls.key_path = issued.key.display().to_string();
    let start = |settings: &Settings| {
        let registry = Arc::new(domain::registry());
        let started = threads.block_on(Serve::start("tested", registry, settings, &[Role::LoadBalancer]));
        let error = started.expect_err("refused");
        format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default())
    };
    let said = start(&settings);
    assert!(said.contains("tls.ca_path is empty"), "{said}");
    settings.tls.ca_path = authority.certificate().display().to_string();
    let said = start(&settings);
    let wanted = "it has to bear subjectAltName=URI:diptych://tested/load-balancer";
    assert!(said.contains("tls.certificate_path") && said.contains(wanted), "{said}");
}

#[test]
fn others_reach_the_interface_only_under_tls_or_behind_proxies_and_with_a_switch_that_is_shown() {
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let authority = Authority::new("ours").expect("an authority");
    let issued = authority.issue(&["shop.example"]).expect("issued");
    let start = |settings: &Settings| {
        let (data, registry) = (tempfile::tempdir().expect("a folder"), Arc::new(domain::registry()));
        let settings = Settings { data: data.path().display().to_string(), ..settings.clone() };
        threads.block_on(node::Dev::start("tested", registry, &settings)).map(|dev| (dev, data))
    };
    for (is_under_tls, proxies, is_insecure, is_served) in [
        (false, "", false, false),
        (false, "", true, false),
        (true, "", false, false),
        (false, "10.0.0.0/8", false, false),
        (true, "", true, true),
        (false, "10.0.0.0/8", true, true),
    ] {
        let mut settings = Settings::default();
        settings.admin.listen = ([127, 0, 0, 1], 0).into();
        settings.load_balancer.listen = ([0, 0, 0, 0], 0).into();
        settings.load_balancer.behind_tls_proxy = proxies.to_owned();
        settings.insecure_no_authentication = is_insecure;
        if is_under_tls {
            settings.load_balancer.certificate_path = issued.certificate.display().to_string();
            settings.load_balancer.key_path = issued.key.display().to_string();
        }
        match start(&settings) {
            Ok((dev, _data)) => {
                assert!(is_served, "{settings:?}");
                let metrics = send(dev.admin_address(), "GET", "/metrics", "", "");
                let sample = "diptych_insecure_switch{name=\"insecure_no_authentication\"} 1";
                assert!(metrics.contains(sample), "{metrics}");
                threads.block_on(dev.stop());
            }
            Err(error) => {
                let said = error.to_string();
                let named = ["load_balancer.certificate_path", "--behind-tls-proxy", "insecure_no_authentication"];
                assert!(!is_served && named.iter().all(|name| said.contains(name)), "{said}");
            }
        }
    }
}

#[test]
fn under_tls_the_interface_answers_whoever_believes_its_certificate() {
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let authority = Authority::new("ours").expect("an authority");
    let issued = authority.issue(&["127.0.0.1"]).expect("issued");
    let data = tempfile::tempdir().expect("a folder");
    let mut settings = Settings { data: data.path().display().to_string(), ..Settings::default() };
    settings.admin.listen = ([127, 0, 0, 1], 0).into();
    settings.load_balancer.listen = ([127, 0, 0, 1], 0).into();
    settings.load_balancer.certificate_path = issued.certificate.display().to_string();
    settings.load_balancer.key_path = issued.key.display().to_string();
    let registry = Arc::new(domain::registry());
    let dev = threads.block_on(node::Dev::start("tested", registry, &settings)).expect("it starts");
    let address = dev.api_address();
    // A client of somebody else's.
    let ask = |options: &[&str]| {
        let url = format!("https://{address}/queries/ledger/log/all");
        let asked = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_quiet", "-verify_return_error", "-connect", &address.to_string()])
            .args(options)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn();
        let mut asked = asked.expect("openssl");
        let head = format!("GET {url} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        // It may have ended already, which is what its output then says.
        let _ = asked.stdin.as_mut().expect("a pipe").write_all(head.as_bytes());
        String::from_utf8_lossy(&asked.wait_with_output().expect("an end").stdout).into_owned()
    };
    let ca = authority.certificate().display().to_string();
    let mut answer = String::new();
    wait_until("it answers", || {
        answer = ask(&["-CAfile", &ca, "-verify_ip", "127.0.0.1"]);
        answer.starts_with("HTTP/1.1")
    });
    assert!(answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        !ask(&["-CAfile", &ca, "-verify_ip", "127.0.0.2"]).contains("HTTP/1.1"),
        "the certificate has another name"
    );
    threads.block_on(dev.stop());
}
