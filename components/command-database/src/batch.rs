//! Group commit: what shares one durable commit.
//!
//! No timer decides how long to collect. One append is in flight; whatever arrives meanwhile goes into the next. An idle log
//! commits at once, a busy one in batches that grow with the load. What does not depend on a command's place in the log is
//! computed where it is submitted; what shares a commit is decided when the store is ready for it, and not before.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use model::Position;
use parking_lot::Mutex;
use runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::{Append, Error, EventStore, Metrics, Outcome, chain::Prepared};

/// Commands that are few.
const FEW_COMMANDS: usize = 2;

/// What became of a submission: an outcome for each command, or why the whole of its batch has none.
pub type Answer = Result<Vec<Outcome>, Arc<Error>>;

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
    groups: Groups,
}

/// What waits to be committed, for the store to take.
#[derive(Clone)]
pub struct Groups {
    waiting: Arc<Waiting>,
}

struct Waiting {
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
    appends: Prepared,
    bytes: usize,
    asker: Asker,
}

/// Whoever is to be told, once, what became of a submission.
struct Asker(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Asker {
    fn tell(mut self, answer: Answer) {
        if let Some(tell) = self.0.take() {
            tell(answer);
        }
    }
}

impl Drop for Asker {
    /// Nobody has told: its task ended with the runtime, and nobody knows what was committed.
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Err(Arc::new(Error::WorkerGone)));
        }
    }
}

impl std::fmt::Debug for GroupCommit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GroupCommit")
            .field("limits", &self.shared.groups.waiting.limits)
            .finish_non_exhaustive()
    }
}

impl GroupCommit {
    /// In front of `store`, to which nobody else should append: two batches in flight would share no commit.
    #[must_use]
    pub fn start(runtime: &Runtime, store: Arc<dyn EventStore>, limits: GroupLimits, metrics: Metrics) -> Self {
        let waiting = Waiting { limits, metrics, queue: Mutex::default(), head: watch::Sender::new(None) };
        let groups = Groups { waiting: Arc::new(waiting) };
        Self { shared: Arc::new(Shared { runtime: runtime.clone(), store, groups }) }
    }

    /// Queues `appends` now, at the call; they stay together, in order. They are appended even when the future is dropped.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too much waits already: nothing was queued. Else what [`EventStore::append`] said of the
    /// whole batch.
    pub fn submit(&self, appends: Vec<Append>) -> impl Future<Output = Answer> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        // Whoever asked may be gone; the commands run to their end all the same.
        self.submit_then(appends, move |answer| drop(sender.send(answer)));
        let commit = self.clone();
        async move {
            let outcomes = answer.await.unwrap_or_else(|_| Err(Arc::new(Error::WorkerGone)))?;
            commit.announce(&outcomes);
            Ok(outcomes)
        }
    }

    /// As [`GroupCommit::submit`], but calls `tell` with the answer, on the thread that has it, possibly before this returns;
    /// it must be quick. Nobody hears of the new head until [`GroupCommit::announce`] is called with the outcomes.
    pub fn submit_then(&self, appends: Vec<Append>, tell: impl FnOnce(Answer) + Send + 'static) {
        self.queue(Submission::new(appends, Asker(Some(Box::new(tell)))));
    }

    /// Tells those who follow the log of the head that `outcomes` led to.
    pub fn announce(&self, outcomes: &[Outcome]) {
        let written = |outcome: &Outcome| match outcome {
            Outcome::Committed { first: Some(_), head, .. } => *head,
            _ => None,
        };
        let Some(head) = outcomes.iter().rev().find_map(written) else { return };
        // Those who share a commit hear of it in any order.
        self.shared.groups.waiting.head.send_if_modified(|known| {
            let is_news = *known < Some(head);
            *known = (*known).max(Some(head));
            is_news
        });
    }

    /// The last position committed through here since the start. Changes wake the relay.
    #[must_use]
    pub fn head_changed(&self) -> watch::Receiver<Option<Position>> {
        self.shared.groups.waiting.head.subscribe()
    }

    fn queue(&self, submission: Submission) {
        let Shared { runtime, store, groups } = &*self.shared;
        let starts = {
            let Waiting { limits, metrics, queue, .. } = &*groups.waiting;
            let mut queue = queue.lock();
            let commands = queue.commands + submission.appends.len();
            let bytes = queue.bytes + submission.bytes;
            let is_full = commands > limits.waiting_commands_max || bytes > limits.waiting_bytes_max;
            // What finds nobody waiting is let in whatever its size: the store has a limit for one append.
            if is_full && !queue.waiting.is_empty() {
                let error = Error::Overloaded { commands: queue.commands, commands_max: limits.waiting_commands_max };
                drop(queue);
                return submission.asker.tell(Err(Arc::new(error)));
            }
            (queue.commands, queue.bytes) = (commands, bytes);
            queue.waiting.push_back(submission);
            metrics.waiting(commands);
            !std::mem::replace(&mut queue.is_committing, true)
        };
        // A panic in a commit ends that commit, and not whoever submitted to it.
        let commits = || catch_unwind(AssertUnwindSafe(|| store.commit_at_once(groups))).unwrap_or(false);
        if starts && !commits() {
            let (store, groups) = (store.clone(), groups.clone());
            drop(runtime.spawn("group commit", async move { store.commit_groups(groups).await }));
        }
    }
}

impl Submission {
    fn new(appends: Vec<Append>, asker: Asker) -> Self {
        let bytes = appends.iter().flat_map(Append::events).map(|event| event.payload.len()).sum();
        Self { appends: Prepared::new(appends), bytes, asker }
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Groups").field("limits", &self.waiting.limits).finish_non_exhaustive()
    }
}

impl Groups {
    /// What goes into the next commit: as much of what waits, in order, as the limits let in, but at least one submission.
    ///
    /// After `None` nobody commits any more, and the next submission begins anew.
    pub fn next(&self) -> Option<Group> {
        let Waiting { limits, metrics, queue, .. } = &*self.waiting;
        let mut queue = queue.lock();
        let mut group = Group { batch: Vec::with_capacity(queue.waiting.len()), askers: Vec::new() };
        group.askers.reserve(queue.waiting.len());
        let (mut commands, mut events, mut bytes) = (0, 0, 0);
        while let Some(next) = queue.waiting.front() {
            commands += next.appends.len();
            events += next.appends.events();
            bytes += next.bytes;
            let fits = commands <= limits.commands_max && events <= limits.events_max && bytes <= limits.bytes_max;
            if !fits && !group.askers.is_empty() {
                break;
            }
            let next = queue.waiting.pop_front()?;
            queue.commands -= next.appends.len();
            queue.bytes -= next.bytes;
            group.askers.push((next.appends.len(), next.asker));
            group.batch.push(next.appends);
        }
        metrics.waiting(queue.commands);
        queue.is_committing = !group.askers.is_empty();
        queue.is_committing.then_some(group)
    }

    /// How many commands wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.queue.lock().commands
    }

    /// Whether so few commands wait that handing them over takes longer than writing them.
    pub(crate) fn are_few(&self) -> bool {
        self.waiting() <= FEW_COMMANDS
    }

    /// Ends committing, unless something waits.
    pub(crate) fn end(&self) -> bool {
        let mut queue = self.waiting.queue.lock();
        queue.is_committing = !queue.waiting.is_empty();
        !queue.is_committing
    }
}

/// What shares one commit, and those who wait for it.
pub struct Group {
    batch: Vec<Prepared>,
    askers: Vec<(usize, Asker)>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Group").field("submissions", &self.batch.len()).finish_non_exhaustive()
    }
}

impl Group {
    /// What is to be appended. Given once; a second call gives nothing.
    pub fn take(&mut self) -> Vec<Append> {
        self.take_prepared().into_iter().flat_map(Prepared::into_appends).collect()
    }

    /// As [`Group::take`], with what was computed at the submission.
    pub(crate) fn take_prepared(&mut self) -> Vec<Prepared> {
        std::mem::take(&mut self.batch)
    }

    /// Tells everyone in the group what became of it: what [`EventStore::append`] would say of the batch.
    pub fn answer(self, result: Result<Vec<Outcome>, Error>) {
        match result {
            Ok(outcomes) => self.committed(outcomes),
            Err(error) => {
                let error = Arc::new(error);
                for (_, asker) in self.askers {
                    asker.tell(Err(error.clone()));
                }
            }
        }
    }

    fn committed(self, outcomes: Vec<Outcome>) {
        let mut outcomes = outcomes.into_iter();
        for (commands, asker) in self.askers {
            asker.tell(Ok(outcomes.by_ref().take(commands).collect()));
        }
    }
}
