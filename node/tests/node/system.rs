//! A process to ask, and how to ask it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use model::Registry;
use node::{Dev, Settings};
use serde_json::Value;

pub(crate) struct System {
    threads: tokio::runtime::Runtime,
    dev: Dev,
}

impl System {
    pub(crate) fn start(data: &Path, registry: Registry, change: impl FnOnce(&mut Settings)) -> Self {
        // However full the disk is that the tests run on.
        let mut settings =
            Settings { data: data.display().to_string(), storage_free_bytes_min: 0, ..Settings::default() };
        settings.load_balancer.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        change(&mut settings);
        let threads = tokio::runtime::Runtime::new().expect("threads");
        let dev = threads.block_on(Dev::start("tested", Arc::new(registry), &settings)).expect("started");
        Self { threads, dev }
    }

    pub(crate) fn stop(self) {
        self.threads.block_on(self.dev.stop());
    }

    /// Sends a request to the interface and returns the whole answer. `headers` are lines with their ends.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        send(self.dev.api_address(), method, path, headers, body)
    }

    /// Sends a request to the admin listener and returns the answer's body.
    pub(crate) fn administer(&self, method: &str, path: &str) -> String {
        let answer = send(self.dev.admin_address(), method, path, "", "");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }

    /// The whole answer of the admin listener.
    pub(crate) fn administer_wrongly(&self, method: &str, path: &str) -> String {
        send(self.dev.admin_address(), method, path, "", "")
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.administer("GET", "/status")).expect("JSON")
    }

    /// The value of the sample that is called exactly this, labels and all; `None` where there is none.
    pub(crate) fn sample(&self, name: &str) -> Option<f64> {
        let metrics = self.administer("GET", "/metrics");
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub(crate) fn open_account(&self, id: &str) {
        let answer = self.ask("POST", &format!("/commands/account/{id}/open"), "", "{\"owner\":\"Ada\"}");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(90), "not within a minute and a half: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}
