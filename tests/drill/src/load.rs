use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{sleep, sleep_until},
};

use crate::{
    client::{Answer, Client, Lost},
    history::{Accepted, Failure, Operation, Outcome},
};

/// How many commands may be under way: more than are due within any pause that a drill causes, within reason.
const CLIENTS: usize = 64;
/// Accounts that exist from the start, each sent one command after the other.
const SHARED: u64 = 32;
/// How long a command is sent again before its client gives up.
const PATIENCE: Duration = Duration::from_secs(90);
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// What is due longer ago is not sent any more: clients do not come back all at once.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Clients that send so many commands a second, whether answers come or not, and remember what became of each.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Operation>>>,
}

struct Shared {
    api: SocketAddr,
    name: String,
    interval: Duration,
    next: Mutex<(Instant, u64)>,
    is_over: AtomicBool,
    accepted: AtomicU64,
}

impl Shared {
    /// When the next command is due, and its number.
    fn take(&self) -> (Instant, u64) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = *next;
        let earliest = Instant::now().checked_sub(LATE_MAX).unwrap_or(taken.0);
        *next = ((taken.0 + self.interval).max(earliest), taken.1 + 1);
        taken
    }
}

impl Load {
    /// `name` begins the ids of its accounts.
    pub(crate) fn start(threads: &Handle, api: SocketAddr, name: &str, commands_per_second: u32) -> Self {
        let shared = Arc::new(Shared {
            api,
            name: name.to_owned(),
            interval: Duration::from_secs(1) / commands_per_second.max(1),
            next: Mutex::new((Instant::now(), 0)),
            is_over: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
        });
        let clients = (0..CLIENTS).map(|_| threads.spawn(client(shared.clone()))).collect();
        Self { shared, clients }
    }

    /// How many commands were accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(SeqCst)
    }

    /// Sends no more, waits for what is under way, and returns the history.
    pub(crate) fn end(self, threads: &Handle) -> Vec<Operation> {
        self.shared.is_over.store(true, SeqCst);
        let all = async {
            let mut history = Vec::new();
            for client in self.clients {
                history.extend(client.await.unwrap_or_default());
            }
            history
        };
        let mut history = threads.block_on(all);
        history.sort_by_key(|operation| operation.due);
        history
    }
}

async fn client(shared: Arc<Shared>) -> Vec<Operation> {
    let (mut client, mut history) = (Client::new(shared.api), Vec::new());
    while !shared.is_over.load(SeqCst) {
        let (due, number) = shared.take();
        sleep_until(due.into()).await;
        let name = &shared.name;
        // Deposits go to accounts that were the first to be opened, long before: the rest is opened once.
        let (account, command) = match number {
            number if number < SHARED => (format!("{name}-{number}"), OPEN),
            number if number >= 10 * SHARED && number % 2 == 1 => (format!("{name}-{}", number / 2 % SHARED), DEPOSIT),
            number => (format!("{name}-{number}"), OPEN),
        };
        let operation = send(&mut client, &account, command, &format!("{name}-{number}"), due).await;
        shared.accepted.fetch_add(u64::from(operation.accepted().is_some()), SeqCst);
        history.push(operation);
    }
    history
}

/// A command's name and fields.
pub(crate) type Command = (&'static str, &'static str);

pub(crate) const OPEN: Command = ("open", r#"{"owner":"Ada"}"#);
pub(crate) const DEPOSIT: Command = ("deposit", r#"{"amount":1}"#);

/// Sends a command until its outcome is known, under one key.
pub(crate) async fn send(
    client: &mut Client,
    account: &str,
    (command, fields): Command,
    key: &str,
    due: Instant,
) -> Operation {
    let (path, key) = (format!("/commands/account/{account}/{command}"), format!("\"{key}\""));
    let mut failures = Vec::new();
    let outcome = loop {
        let said = match judge(client.post(&path, &[("idempotency-key", &key)], fields).await) {
            Ok(outcome) => break outcome,
            Err(said) => said,
        };
        failures.push(Failure { at: Instant::now(), said });
        if due.elapsed() > PATIENCE {
            break Outcome::Unknown;
        }
        sleep(RETRY_AFTER).await;
    };
    Operation { account: account.to_owned(), due, answered: Instant::now(), failures, outcome }
}

/// The outcome that an answer tells, or what it says instead of one.
fn judge(answer: Result<Answer, Lost>) -> Result<Outcome, String> {
    let answer = answer.map_err(|lost| format!("lost: {lost}"))?;
    match answer.status {
        200 | 201 => Ok(accepted(&answer).map_or(Outcome::Unknown, Outcome::Accepted)),
        // Nothing was done, or nobody knows, or others were faster each time: the same again.
        status @ (429 | 503 | 504) => Err(format!("{status} {}", answer.problem())),
        409 if answer.problem() == "version-conflict" => Err("409 version-conflict".to_owned()),
        status => Ok(Outcome::Refused(format!("{status} {}", answer.problem()))),
    }
}

fn accepted(answer: &Answer) -> Option<Accepted> {
    let said = answer.json();
    let positions = said["events"].as_array()?.iter().filter_map(|event| event["position"].as_u64());
    Some(Accepted {
        command: said["command_id"].as_str()?.parse().ok()?,
        positions: positions.collect(),
        version: said["version"].as_u64()?,
        token: answer.header("consistency-token")?.to_owned(),
    })
}
