//! Commits that share a transaction.
//!
//! The projections of a process fold the same events and come with their commits at about the same time. A transaction costs
//! more than a row, so all that wait when the writer is free go into one, each with its own checkpoint and fence: one that is
//! fenced writes nothing, and the others do not notice. Should the transaction fail, each is tried in one of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use runtime::Runtime;
use tokio::sync::oneshot;
use tracing::Span;

use super::writer::Writer;
use crate::{
    Commit, CommitOutcome, Error,
    telemetry::{OfReadModel, Telemetry},
};

/// Rows of one transaction that are written by whoever asks: handing so few over takes longer than writing them.
const ROWS_ON_THE_SPOT_MAX: usize = 32;
/// They are handed over all the same after a transaction that took longer than this.
const ON_THE_SPOT_MAX: Duration = Duration::from_millis(1);
/// Most rows of several commits in one transaction: beside more its own cost is nothing, and each projection that comes along
/// keeps the others waiting.
const ROWS_TOGETHER_MAX: usize = 64;

type Answer = Result<CommitOutcome, Error>;

struct Waiting {
    commit: Commit,
    /// When the head was seen, in this process's time.
    seen_at: i64,
    span: Span,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    commits: Vec<Waiting>,
    rows: usize,
    /// Whether a job of the writer's worker is to come for them.
    is_expected: bool,
}

/// The commits that wait: at most one of each projection, which waits for its outcome before the next. Cheap to clone; clones share them.
#[derive(Clone)]
pub(super) struct Commits {
    runtime: Runtime,
    telemetry: Telemetry,
    queue: Arc<Mutex<Queue>>,
    /// Whether the latest transaction took no longer than [`ON_THE_SPOT_MAX`].
    was_quick: Arc<AtomicBool>,
}

/// A commit that waits for its outcome.
pub(super) struct Queued(oneshot::Receiver<Answer>);

impl Queued {
    pub(super) async fn outcome(self) -> Answer {
        // The answer is lost only with the process's runtime: then nobody knows whether it was stored.
        self.0.await.unwrap_or(Err(Error::WorkerGone))
    }
}

impl Commits {
    pub(super) fn new(runtime: Runtime, telemetry: Telemetry) -> Self {
        Self { runtime, telemetry, queue: Arc::default(), was_quick: Arc::default() }
    }

    /// Queues a commit now, at the call.
    pub(super) fn queue(&self, commit: Commit, seen_at: i64, span: Span) -> Queued {
        let (answer, answered) = oneshot::channel();
        let mut queue = self.queue.lock();
        queue.rows += commit.rows.len();
        queue.commits.push(Waiting { commit, seen_at, span, answer });
        Queued(answered)
    }

    /// Whether something waits that the caller may write: it is little, the latest was quick, and the runtime gives leave.
    pub(super) fn may_be_written_here(&self) -> bool {
        let are_few = {
            let queue = self.queue.lock();
            !queue.commits.is_empty() && queue.rows <= ROWS_ON_THE_SPOT_MAX
        };
        are_few && self.was_quick.load(Ordering::Relaxed) && self.runtime.stand_in()
    }

    /// Whether the caller has to send a job for what waits; no if nothing does, or one is on its way.
    pub(super) fn expect(&self) -> bool {
        let mut queue = self.queue.lock();
        !queue.commits.is_empty() && !std::mem::replace(&mut queue.is_expected, true)
    }

    /// The job has come.
    pub(super) fn arrived(&self) {
        self.queue.lock().is_expected = false;
    }

    /// Stores what waits; `None` where nothing does any more. The outcomes are given out by the returned function, once
    /// readers may see the rows.
    pub(super) fn store(&self, writer: &mut Writer) -> Option<impl FnOnce() + use<>> {
        let together = self.take();
        if together.is_empty() {
            return None;
        }
        let commits: Vec<(&Commit, i64)> = together.iter().map(|waiting| (&waiting.commit, waiting.seen_at)).collect();
        let entered: Vec<_> = together.iter().map(|waiting| waiting.span.enter()).collect();
        let began = self.runtime.now();
        let answers: Vec<Answer> = match writer.commit(&commits) {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) if commits.len() == 1 => vec![Err(error)],
            // It may be stored all the same: each projection asks for its checkpoint then.
            Err(error @ Error::Commit { .. }) => {
                let others = commits.iter().skip(1).map(|_| Err(Error::WorkerGone));
                std::iter::once(Err(error)).chain(others).collect()
            }
            Err(_) => commits.iter().map(|commit| alone(writer, commit)).collect(),
        };
        let took = self.runtime.now().saturating_sub(began);
        self.was_quick.store(took <= ON_THE_SPOT_MAX, Ordering::Relaxed);
        self.telemetry.commit_duration.observe(took.as_secs_f64());
        drop(entered);
        for (waiting, answer) in together.iter().zip(&answers) {
            self.count(writer, &waiting.commit, answer);
        }
        Some(move || {
            for (waiting, answer) in together.into_iter().zip(answers) {
                // A projection that ended meanwhile finds out at its next start.
                let _ = waiting.answer.send(answer);
            }
        })
    }

    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let mut rows = 0;
        let fits = |waiting: &&Waiting| {
            let more = waiting.commit.rows.len();
            let goes_on = rows == 0 || rows + more <= ROWS_TOGETHER_MAX;
            rows += more;
            goes_on
        };
        let count = queue.commits.iter().take_while(fits).count();
        let together: Vec<Waiting> = queue.commits.drain(..count).collect();
        queue.rows -= together.iter().map(|waiting| waiting.commit.rows.len()).sum::<usize>();
        together
    }

    fn count(&self, writer: &Writer, commit: &Commit, answer: &Answer) {
        match answer {
            Ok(CommitOutcome::Stored) => {
                if let Some(table) = writer.tables.get(&commit.generation) {
                    let label = OfReadModel { read_model: table.read_model.name.as_str().into() };
                    self.telemetry.rows_written.get_or_create(&label).inc_by(commit.rows.len() as u64);
                }
            }
            Ok(CommitOutcome::Fenced) => drop(self.telemetry.fenced.inc()),
            Err(_) => {}
        }
    }
}

fn alone(writer: &mut Writer, commit: &(&Commit, i64)) -> Answer {
    // One commit has one outcome.
    writer.commit(&[*commit]).and_then(|outcomes| outcomes.into_iter().next().ok_or(Error::WorkerGone))
}
