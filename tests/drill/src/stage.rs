use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cluster::{Role, System};
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};

use crate::history::Operation;

/// Why a drill could not be carried out, as opposed to what it found.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A thousand clients come from one address, and a canary besides.
const CONNECTIONS: (&str, &str) = ("DIPTYCH__LOAD_BALANCER__CONNECTIONS_PER_ADDRESS_MAX", "4000");

/// A whole system of processes on this machine, and threads for its clients.
pub struct Stage {
    /// The application.
    pub(crate) binary: PathBuf,
    pub(crate) system: System,
    threads: Runtime,
    pub(crate) api: SocketAddr,
    /// What all its clients so far were told, of what is not known to be lost.
    pub(crate) history: Vec<Operation>,
    /// How many events of the log have had their rows compared.
    pub(crate) compared: usize,
}

impl Stage {
    /// Starts everything, with `binary` for the services, and waits until it is ready.
    ///
    /// # Errors
    /// Whatever does not start.
    pub fn start(binary: &Path) -> Result<Self, Trouble> {
        let threads = Runtime::new()?;
        let system = System::start_with(binary, &[CONNECTIONS])?;
        let api = system.api().trim_start_matches("http://").parse()?;
        let binary = binary.to_owned();
        let stage = Self { binary, system, threads, api, history: Vec::new(), compared: 0 };
        stage.wait_until("the queue is relied on", Duration::from_secs(60), |stage| stage.is_mode("queue"))?;
        Ok(stage)
    }

    pub(crate) fn threads(&self) -> Handle {
        self.threads.handle().clone()
    }

    /// Runs what a client does to its end.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.threads.block_on(work)
    }

    pub(crate) fn wait_until(
        &self,
        what: &str,
        span: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<Duration, Trouble> {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() > span {
                return Err(format!("not within {span:?}: {what}").into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(began.elapsed())
    }

    fn admins(&self, role: Role) -> impl Iterator<Item = String> {
        self.system.services.iter().filter(move |service| service.role() == role).map(cluster::Service::admin)
    }

    /// What each event handler that answers says of itself.
    pub(crate) fn handlers(&self) -> Vec<Value> {
        let statuses = self.admins(Role::EventHandler).filter_map(|admin| get(&admin, "/status"));
        statuses.filter_map(|status| serde_json::from_str(&status).ok()).collect()
    }

    /// Whether every event handler is in this mode.
    pub(crate) fn is_mode(&self, mode: &str) -> bool {
        let handlers = self.handlers();
        handlers.len() == self.admins(Role::EventHandler).count()
            && handlers.iter().all(|status| status["mode"]["name"] == mode)
    }

    /// How often event handlers have read the log because the queue did not bring what it should have.
    pub(crate) fn direct_reads(&self) -> u64 {
        let reasons = ["hole", "outage"];
        let samples = reasons.map(|reason| format!("diptych_event_handler_direct_reads_total{{reason=\"{reason}\"}}"));
        samples.iter().map(|sample| self.metric(Role::EventHandler, sample)).sum()
    }

    /// The sum of all samples of a role's instances that begin so.
    pub(crate) fn metric(&self, role: Role, sample: &str) -> u64 {
        self.admins(role).map(|admin| metric(&admin, sample)).sum()
    }
}

/// The sum of all samples that begin so, of the process with this page for its operators.
pub(crate) fn metric(admin: &str, sample: &str) -> u64 {
    let metrics = get(admin, "/metrics").unwrap_or_default();
    let values = metrics.lines().filter(|line| line.starts_with(sample));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// What an operator's page says; nothing from one that does not answer.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}
