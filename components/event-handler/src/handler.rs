use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use command_database::{EventStore, Head};
use message_queue::MessageQueue;
use model::{Hash, Position, Registry};
use parking_lot::Mutex;
use query_database::RowWriter;
use runtime::{Runtime, Shutdown, Task};
use tokio::sync::Notify;
use tracing::warn;

use crate::{
    apply::ApplyLoop,
    backoff::Backoff,
    config::Config,
    direct::{Filling, LogReader},
    entry::chain_of,
    feed::Feed,
    head,
    inbox::Inbox,
    process::Process,
    status::{Board, ProjectionStatus, Seen, Status},
    telemetry::Metrics,
};

/// Keeps all read models of an application. One a process; any number of processes, of which one owns each generation.
#[derive(Debug)]
pub struct EventHandler;

/// What an event handler depends on.
pub struct Parts {
    /// Time, tasks, randomness.
    pub runtime: Runtime,
    /// The application's projections, and the events they fold.
    pub registry: Registry,
    /// The log. It is read only.
    pub store: Arc<dyn EventStore>,
    /// What brings events.
    pub queue: Arc<dyn MessageQueue>,
    /// Where rows and checkpoints are kept.
    pub rows: Arc<dyn RowWriter>,
    /// Limits and times.
    pub config: Config,
    /// What is counted.
    pub metrics: Metrics,
    /// Ends it.
    pub shutdown: Shutdown,
}

/// A running event handler. Dropping it leaves it running.
pub struct Handle {
    process: Arc<Process>,
    done: Mutex<Option<Task<()>>>,
}

impl EventHandler {
    /// Starts the apply loops of every projection of the registry. Returns at once: databases that do not answer yet are
    /// tried again for ever.
    #[must_use]
    pub fn start(parts: Parts) -> Handle {
        let process = Arc::new(process(parts));
        let done = process.runtime.spawn("event-handler", run(process.clone()));
        Handle { process, done: Mutex::new(Some(done)) }
    }
}

impl Handle {
    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.process.board.status(self.process.inbox.end())
    }

    /// Ends it: commits that were begun are finished, and what comes after them is applied by the next one.
    /// A second call returns at once.
    pub async fn stop(&self) {
        self.process.shutdown.request();
        let done = self.done.lock().take();
        if let Some(done) = done {
            // Without an answer its runtime has ended, and it with that.
            let _ = done.await;
        }
    }
}

fn process(parts: Parts) -> Process {
    let Parts { runtime, registry, store, queue, rows, config, metrics, shutdown } = parts;
    let now = runtime.now();
    let projections = registry.projections().map(|projection| projection.read_model());
    let projections = projections.map(|read_model| ProjectionStatus {
        name: read_model.name.clone(),
        version: read_model.version,
        generation: None,
        serving: false,
        checkpoint: None,
        lag_events: 0,
        held: None,
        alarm: None,
        applied_from_queue: 0,
        applied_from_log: 0,
        owned: false,
    });
    let projections: Vec<_> = projections.collect();
    let level = Arc::<AtomicUsize>::default();
    let filling = Filling { projections: projections.len(), level: level.clone() };
    let reads_max = config.direct_reads_per_second_max;
    let log = LogReader::new(runtime.clone(), store.clone(), reads_max, filling, metrics.clone());
    Process {
        inbox: Inbox::new(config.inbox_events_max, config.inbox_bytes_max),
        board: Board::new(projections, now),
        log,
        level,
        head_moved: Notify::new(),
        log_changed: Notify::new(),
        shutdown: shutdown.child(),
        runtime,
        registry,
        store,
        queue,
        rows,
        config,
        metrics,
    }
}

async fn run(process: Arc<Process>) {
    let Some(head) = look_at_log(&process).await else { return };
    let mut loops = Vec::new();
    let projections: Vec<_> = process.registry.projections().cloned().collect();
    for (slot, projection) in projections.iter().enumerate() {
        let Some(apply) = ApplyLoop::begin(process.clone(), slot, projection).await else { return };
        loops.push(apply);
    }
    let (end, hash) = start(&loops, &head, process.config.inbox_events_max);
    let feed = Feed::new(process.clone(), end, hash);
    let mut tasks: Vec<Task<()>> =
        loops.into_iter().map(|apply| process.runtime.spawn("event-handler apply", apply.run())).collect();
    tasks.push(process.runtime.spawn("event-handler feed", feed.run()));
    tasks.push(process.runtime.spawn("event-handler head", head::watch(process.clone(), head.epoch)));
    for task in tasks {
        // A task that panicked has said so; the others end by the shutdown.
        let _ = task.await;
    }
}

/// The end and the lineage of the log; `None` when the process is to end before they are known.
async fn look_at_log(process: &Process) -> Option<Head> {
    let mut backoff = Backoff::new();
    loop {
        let at = process.runtime.now();
        let seen = async { Ok((process.store.head().await?, process.store.lineage().await?)) };
        match seen.await {
            Ok((head, lineage)) => {
                *process.board.seen.lock() = Seen { head: head.position, at };
                *process.board.lineage.lock() = Arc::new(lineage);
                return Some(head);
            }
            Err(error) => {
                let error: command_database::Error = error;
                warn!(error = %chain_of(&error), "the log cannot be read; trying again");
                let pause: Duration = backoff.pause(&process.runtime);
                if !process.pause(pause).await {
                    return None;
                }
            }
        }
    }
}

/// Where the queue is read from: the lowest checkpoint from which memory can hold all that follows. Those further back,
/// and those that are filled, read the log until they come there.
fn start(loops: &[ApplyLoop], head: &Head, kept_max: usize) -> (Option<Position>, Hash) {
    let end = Position::count(head.position);
    loops
        .iter()
        .filter(|apply| !apply.is_filled())
        .map(ApplyLoop::owned)
        .filter(|owned| end.saturating_sub(Position::count(owned.position)) <= kept_max as u64 / 2)
        .min_by_key(|owned| owned.position)
        .map_or((head.position, head.hash), |owned| (owned.position, owned.hash))
}
