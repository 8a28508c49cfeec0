//! Group commit: what shares one durable commit.
//!
//! No timer decides how long to collect. One append is in flight; whatever arrives meanwhile goes into the next. An idle log
//! commits at once, a busy one in batches that grow with the load.

use std::{collections::VecDeque, sync::Arc};

use model::Position;
use parking_lot::Mutex;
use runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::{Append, Error, EventStore, Metrics, Outcome};

type Answer = Result<Vec<Outcome>, Arc<Error>>;

/// Bounds of one batch and of what may wait for it.
#[derive(Clone, Copy, Debug)]
pub struct GroupLimits {
    /// Most commands that share one commit.
    pub commands_max: usize,
    /// Most events of one commit. A single submission with more goes alone.
    pub events_max: usize,
    /// Most bytes of payload of one commit. A single submission with more goes alone.
    pub bytes_max: usize,
    /// Most commands that wait; further ones are refused.
    pub waiting_commands_max: usize,
    /// Most bytes of payload that wait; what would exceed them is refused.
    pub waiting_bytes_max: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            commands_max: 1024,
            events_max: 10_000,
            bytes_max: 4 * 1024 * 1024,
            waiting_commands_max: 16_384,
            waiting_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Gathers the appends of many tasks into few commits. Cheap to clone; clones share one queue.
#[derive(Clone)]
pub struct GroupCommit {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    store: Arc<dyn EventStore>,
    limits: GroupLimits,
    metrics: Metrics,
    queue: Mutex<Queue>,
    head: watch::Sender<Option<Position>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Submission>,
    commands: usize,
    bytes: usize,
    /// Whether a task is at it. It ends when nothing waits, and the next submission starts another.
    is_committing: bool,
}

struct Submission {
    appends: Vec<Append>,
    events: usize,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

impl std::fmt::Debug for GroupCommit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GroupCommit").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl GroupCommit {
    /// In front of `store`, to which nobody else should append: two batches in flight would share no commit.
    #[must_use]
    pub fn start(runtime: &Runtime, store: Arc<dyn EventStore>, limits: GroupLimits, metrics: Metrics) -> Self {
        let head = watch::Sender::new(None);
        let runtime = runtime.clone();
        Self { shared: Arc::new(Shared { runtime, store, limits, metrics, queue: Mutex::default(), head }) }
    }

    /// Queues `appends` now, at the call; they stay together, in order. They are appended even when the future is dropped.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too much waits already: nothing was queued. Else what [`EventStore::append`] said of the
    /// whole batch.
    pub fn submit(&self, appends: Vec<Append>) -> impl Future<Output = Answer> + Send + use<> {
        let queued = self.queue(appends);
        async move {
            // The answer is lost only when its task ended with the runtime: then nobody knows what was committed.
            queued?.await.unwrap_or_else(|_| Err(Arc::new(Error::WorkerGone)))
        }
    }

    /// The last position committed through here since the start. Changes wake the relay.
    #[must_use]
    pub fn head_changed(&self) -> watch::Receiver<Option<Position>> {
        self.shared.head.subscribe()
    }

    fn queue(&self, appends: Vec<Append>) -> Result<oneshot::Receiver<Answer>, Arc<Error>> {
        let (answer, answered) = oneshot::channel();
        let submission = Submission::new(appends, answer);
        let starts = {
            let limits = &self.shared.limits;
            let mut queue = self.shared.queue.lock();
            let commands = queue.commands + submission.appends.len();
            let bytes = queue.bytes + submission.bytes;
            let is_full = commands > limits.waiting_commands_max || bytes > limits.waiting_bytes_max;
            // What finds nobody waiting is let in whatever its size: the store has a limit for one append.
            if is_full && !queue.waiting.is_empty() {
                return Err(Arc::new(Error::Overloaded {
                    commands: queue.commands,
                    commands_max: limits.waiting_commands_max,
                }));
            }
            (queue.commands, queue.bytes) = (commands, bytes);
            queue.waiting.push_back(submission);
            self.shared.metrics.waiting(commands);
            !std::mem::replace(&mut queue.is_committing, true)
        };
        if starts {
            let shared = self.shared.clone();
            drop(self.shared.runtime.spawn("group commit", async move { shared.commit_all().await }));
        }
        Ok(answered)
    }
}

impl Submission {
    fn new(appends: Vec<Append>, answer: oneshot::Sender<Answer>) -> Self {
        let (mut events, mut bytes) = (0, 0);
        for event in appends.iter().flat_map(Append::events) {
            events += 1;
            bytes += event.payload.len();
        }
        Self { appends, events, bytes, answer }
    }
}

impl Shared {
    async fn commit_all(&self) {
        while let Some(group) = self.next_group() {
            self.commit(group).await;
        }
    }

    /// What goes into the next commit: as much of the queue, in order, as the limits let in, but at least one submission.
    fn next_group(&self) -> Option<Vec<Submission>> {
        let mut queue = self.queue.lock();
        let mut group: Vec<Submission> = Vec::new();
        let (mut commands, mut events, mut bytes) = (0, 0, 0);
        while let Some(next) = queue.waiting.front() {
            commands += next.appends.len();
            events += next.events;
            bytes += next.bytes;
            let limits = &self.limits;
            let fits = commands <= limits.commands_max && events <= limits.events_max && bytes <= limits.bytes_max;
            if !fits && !group.is_empty() {
                break;
            }
            let next = queue.waiting.pop_front()?;
            queue.commands -= next.appends.len();
            queue.bytes -= next.bytes;
            group.push(next);
        }
        self.metrics.waiting(queue.commands);
        queue.is_committing = !group.is_empty();
        queue.is_committing.then_some(group)
    }

    async fn commit(&self, group: Vec<Submission>) {
        let mut batch = Vec::with_capacity(group.iter().map(|submission| submission.appends.len()).sum());
        let mut answers = Vec::with_capacity(group.len());
        for submission in group {
            answers.push((submission.appends.len(), submission.answer));
            batch.extend(submission.appends);
        }
        match self.store.append(batch).await {
            Ok(outcomes) => self.answer(answers, outcomes),
            Err(error) => {
                let error = Arc::new(error);
                for (_, answer) in answers {
                    // Whoever asked may be gone; the command has run to its end all the same.
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn answer(&self, answers: Vec<(usize, oneshot::Sender<Answer>)>, outcomes: Vec<Outcome>) {
        let written = |outcome: &Outcome| match outcome {
            Outcome::Committed { first: Some(_), head, .. } => *head,
            _ => None,
        };
        if let Some(head) = outcomes.iter().rev().find_map(written) {
            self.head.send_replace(Some(head));
        }
        let mut outcomes = outcomes.into_iter();
        for (commands, answer) in answers {
            let _ = answer.send(Ok(outcomes.by_ref().take(commands).collect()));
        }
    }
}
