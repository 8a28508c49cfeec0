//! One `shop dev` process and how to ask about it.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::client::Client;

pub(crate) struct System {
    process: Child,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
}

pub(crate) fn shop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.env_clear().env("HOME", "/nonexistent").env("RUST_LOG", "warn");
    command
}

/// A `dev` on free ports that has not said yet where it listens.
pub(crate) fn spawn(data: &Path) -> Child {
    shop()
        .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shop starts")
}

impl System {
    pub(crate) fn start(data: &Path) -> Self {
        let mut process = spawn(data);
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let (mut api, mut admin) = (None, None);
        for line in lines.by_ref().map_while(Result::ok) {
            let address = || line.split("http://").nth(1)?.split('/').next()?.parse().ok();
            match line.split_whitespace().next() {
                Some("API") => api = address(),
                Some("admin") => admin = address(),
                Some("Stop") => break,
                _ => {}
            }
        }
        let (Some(api), Some(admin)) = (api, admin) else {
            let mut said = String::new();
            let _ = process.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
            panic!("the shop did not start: {said}");
        };
        // Its log has to be read by somebody, or it blocks once the pipe is full.
        let stderr = process.stderr.take().expect("its log");
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        let system = Self { process, api, admin };
        system.wait_until("it is ready", |system| {
            Client::new(system.admin).get("/readyz", &[]).is_ok_and(|answer| answer.status == 200)
        });
        system
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.api)
    }

    pub(crate) fn status(&self) -> Value {
        Client::new(self.admin).get("/status", &[]).expect("status").json()
    }

    /// The value of one sample of the metrics, labels and all; the sum of all samples that begin so.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let text = Client::new(self.admin).get("/metrics", &[]).expect("metrics").body;
        let values = text.lines().filter(|line| line.starts_with(sample));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}; {:#}", self.status());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Until every projection has folded all there is.
    pub(crate) fn wait_until_caught_up(&self) {
        self.wait_until("the read models caught up", |system| {
            let status = system.status();
            let projections = status["projections"].as_array().cloned().unwrap_or_default();
            !projections.is_empty() && projections.iter().all(|projection| projection["position"] == status["head"])
        });
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }

    /// SIGTERM, and what it exits with.
    pub(crate) fn stop(mut self) -> Option<i32> {
        terminate(&self.process);
        self.process.wait().expect("gone").code()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn terminate(process: &Child) {
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
}

pub(crate) fn verify(data: &Path) -> Output {
    shop().args(["verify", "-o", "json", "--data"]).arg(data).output().expect("verify runs")
}

pub(crate) fn assert_verified(data: &Path) {
    let output = verify(data);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}
