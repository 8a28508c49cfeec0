use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::JoinHandle, time::sleep_until};

use crate::{
    client::Client,
    figures::{percentile, seconds},
    history::Operation,
    load::{DEPOSIT, OPEN, send},
};

const WRITE_EVERY: Duration = Duration::from_millis(20);
const SAMPLE_EVERY: Duration = Duration::from_millis(10);

/// A writer that deposits into one account, and a reader that looks every 10 ms at how much of that its row shows.
pub(crate) struct Canary {
    is_over: Arc<AtomicBool>,
    writer: JoinHandle<Vec<Operation>>,
    reader: JoinHandle<Vec<Sample>>,
}

/// One look at the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// How long ago the first change was acknowledged that is not shown; zero where all are.
    pub(crate) staleness: Duration,
    /// What the answer was; `None` without one.
    pub(crate) status: Option<u16>,
}

/// When each version of the account was acknowledged: the first is that of version 1.
type Acknowledged = Arc<Mutex<Vec<Instant>>>;

impl Canary {
    /// Returns once its account is there and its row shows it.
    pub(crate) fn start(threads: &Handle, api: SocketAddr, name: &str) -> Self {
        let (is_over, acknowledged) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
        let account = format!("{name}-canary");
        let writer = threads.spawn(write(api, account.clone(), acknowledged.clone(), is_over.clone()));
        while acknowledged.lock().unwrap_or_else(PoisonError::into_inner).is_empty() && !writer.is_finished() {
            std::thread::sleep(SAMPLE_EVERY);
        }
        let reader = threads.spawn(read(api, account, acknowledged, is_over.clone()));
        Self { is_over, writer, reader }
    }

    /// Ends both, and returns what was seen and what was written.
    pub(crate) fn end(self, threads: &Handle) -> (Vec<Sample>, Vec<Operation>) {
        self.is_over.store(true, SeqCst);
        threads.block_on(async {
            let history = self.writer.await.unwrap_or_default();
            (self.reader.await.unwrap_or_default(), history)
        })
    }
}

async fn write(
    api: SocketAddr,
    account: String,
    acknowledged: Acknowledged,
    is_over: Arc<AtomicBool>,
) -> Vec<Operation> {
    let (mut client, mut history) = (Client::new(api), Vec::new());
    while !is_over.load(SeqCst) {
        let due = Instant::now();
        let command = if history.is_empty() { OPEN } else { DEPOSIT };
        let operation = send(&mut client, &account, command, &format!("{account}-{}", history.len()), due).await;
        if operation.accepted().is_some() {
            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(operation.answered);
        }
        history.push(operation);
        sleep_until((due + WRITE_EVERY).into()).await;
    }
    history
}

async fn read(api: SocketAddr, account: String, acknowledged: Acknowledged, is_over: Arc<AtomicBool>) -> Vec<Sample> {
    let (mut client, mut samples) = (Client::new(api), Vec::<Sample>::new());
    let path = format!("/queries/ledger/account/{account}");
    let (mut due, mut shown) = (Instant::now(), 0);
    while !is_over.load(SeqCst) {
        sleep_until(due.into()).await;
        let asked = Instant::now();
        let answer = client.get(&path, &[]).await.ok();
        let row = answer.as_ref().filter(|answer| answer.status == 200);
        if let Some(count) = row.and_then(|answer| answer.json()["n"].as_u64()) {
            shown = usize::try_from(count).unwrap_or(usize::MAX);
        }
        let answered = Instant::now();
        // The first change that the row does not show, whenever it was acknowledged.
        let missing = acknowledged.lock().unwrap_or_else(PoisonError::into_inner).get(shown).copied();
        let status = answer.map(|answer| answer.status);
        // Looks that a slow answer has kept from being made would have seen no more than it.
        while due <= answered {
            let at = due.max(asked);
            let staleness = missing.map_or(Duration::ZERO, |missing| at.saturating_duration_since(missing));
            samples.push(Sample { at, staleness, status });
            due += SAMPLE_EVERY;
        }
    }
    samples
}

fn row_is_away(sample: &Sample) -> bool {
    sample.status != Some(200)
}

/// How stale what was read in a span was.
pub(crate) fn staleness(samples: &[Sample], from: Instant, to: Instant) -> Vec<Duration> {
    within(samples, from, to).map(|sample| sample.staleness).collect()
}

/// How many of the looks in a span brought no row.
pub(crate) fn unanswered(samples: &[Sample], from: Instant, to: Instant) -> usize {
    within(samples, from, to).filter(|sample| row_is_away(sample)).count()
}

/// How often within a span more than `limit` was missing for a while, and the worst of these spells: when it began, counted from
/// `from`, how long it lasted and how stale it got.
pub(crate) fn spells(samples: &[Sample], from: Instant, to: Instant, limit: Duration) -> String {
    let all: Vec<&Sample> = within(samples, from, to).collect();
    let spells = all.chunk_by(|one, next| (one.staleness > limit) == (next.staleness > limit));
    let stale: Vec<_> = spells.filter(|spell| spell[0].staleness > limit).collect();
    let greatest = |spell: &[&Sample]| spell.iter().map(|sample| sample.staleness).max().unwrap_or_default();
    let Some(worst) = stale.iter().max_by_key(|spell| greatest(spell)) else { return "never".to_owned() };
    let (first, last) = (worst[0].at, worst[worst.len() - 1].at);
    let told = [first.duration_since(from), last.duration_since(first), greatest(worst)].map(seconds);
    let [at, long, most] = told;
    format!("{} times; after {at} for {long}, up to {most}", stale.len())
}

fn within(samples: &[Sample], from: Instant, to: Instant) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(move |sample| sample.at >= from && sample.at < to)
}

/// The staleness that all but a hundredth of the looks did not exceed, and the greatest.
pub(crate) fn summary(samples: &[Sample], from: Instant, to: Instant) -> (Duration, Duration) {
    let all = staleness(samples, from, to);
    (percentile(all.clone(), 99), percentile(all, 100))
}
