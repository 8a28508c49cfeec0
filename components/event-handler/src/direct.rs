//! Direct reads of the log, shared by the projections of the process, limited, and counted by reason.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use command_database::{EventStore, ReadLimit};
use model::{Hash, Position, Registry, StoredEvent};
use parking_lot::Mutex;
use runtime::{Runtime, Task};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    bucket::Bucket,
    entry::{Entry, Source},
    telemetry::Metrics,
};

/// Why the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadReason {
    /// A projection was not running, or too slow for what is kept in memory.
    CatchUp,
    /// A generation is filled.
    Rebuild,
    /// The queue left something out.
    Hole,
    /// The queue is out.
    Outage,
}

impl ReadReason {
    pub(crate) const ALL: [Self; 4] = [Self::CatchUp, Self::Rebuild, Self::Hole, Self::Outage];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CatchUp => "catch-up",
            Self::Rebuild => "rebuild",
            Self::Hole => "hole",
            Self::Outage => "outage",
        }
    }
}

/// Why a read brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot read the log")]
    Log(#[source] command_database::Error),
    /// What the log has there does not follow on what the reader has: one of the two is another history.
    #[error("the event at position {position} does not follow on what was read before it")]
    Fork { position: Position },
}

/// Reads what follows on a position. Those who read the same part share one read of it.
pub(crate) struct LogReader {
    runtime: Runtime,
    store: Arc<dyn EventStore>,
    bucket: Mutex<Bucket>,
    chunks: Mutex<VecDeque<Arc<[Entry]>>>,
    reading: AsyncMutex<()>,
    ahead: Mutex<Option<Ahead>>,
    filling: Filling,
    metrics: Metrics,
}

/// A read that is under way while what comes before it is checked and decoded.
struct Ahead {
    after: Position,
    events: Task<Result<Vec<Arc<StoredEvent>>, command_database::Error>>,
}

/// How many projections are filled from the log.
#[derive(Clone)]
pub(crate) struct Filling {
    pub(crate) projections: usize,
    /// Those that keep up with the log.
    pub(crate) level: Arc<AtomicUsize>,
}

impl Filling {
    fn chunks_max(&self) -> usize {
        let filled = self.projections.saturating_sub(self.level.load(Ordering::Relaxed));
        if filled > 1 { CHUNKS_MAX } else { CHUNKS_MAX_ALONE }
    }
}

/// Projections that are filled together go through the log at about the same pace: a few chunks bridge the difference.
const CHUNKS_MAX: usize = 16;

/// One that is filled by itself needs what was read ahead and nothing else: what it has folded is let go of while it is in the
/// processor's cache, and the next chunk is read into the same memory.
const CHUNKS_MAX_ALONE: usize = 1;

/// So many that reading them is worth a hand-over, and so few that they are still in the processor's cache when they are
/// checked, decoded and folded.
const CHUNK: ReadLimit = ReadLimit { events_max: 1024, bytes_max: 1024 * 1024 };

impl LogReader {
    pub(crate) fn new(
        runtime: Runtime,
        store: Arc<dyn EventStore>,
        reads_per_second_max: u32,
        filling: Filling,
        metrics: Metrics,
    ) -> Self {
        let bucket = Mutex::new(Bucket::new(reads_per_second_max, runtime.now()));
        Self {
            runtime,
            store,
            bucket,
            chunks: Mutex::default(),
            reading: AsyncMutex::default(),
            ahead: Mutex::default(),
            filling,
            metrics,
        }
    }

    /// What follows on the event at `after`, whose hash is `hash`; empty at the end of the log.
    pub(crate) async fn read(
        &self,
        after: Option<Position>,
        hash: Hash,
        reason: ReadReason,
    ) -> Result<Vec<Entry>, ReadError> {
        let entries = self.fetch(after, hash, reason, None).await?;
        match entries.first() {
            Some(first) if first.previous != hash => Err(ReadError::Fork { position: first.position }),
            _ => Ok(entries),
        }
    }

    /// Reads ahead of somebody who will want it next, and decodes.
    pub(crate) async fn prefetch(&self, after: Option<Position>, hash: Hash, reason: ReadReason, registry: &Registry) {
        // Whoever wants it will see the error.
        drop(self.fetch(after, hash, reason, Some(registry)).await);
    }

    /// Forgets what was read: the log may be another one.
    pub(crate) fn forget(&self) {
        self.chunks.lock().clear();
        *self.ahead.lock() = None;
    }

    /// With a `registry` what is read is decoded before anybody else gets it: two that decode the same events at once would
    /// wait for each other at every one of them.
    async fn fetch(
        &self,
        after: Option<Position>,
        hash: Hash,
        reason: ReadReason,
        registry: Option<&Registry>,
    ) -> Result<Vec<Entry>, ReadError> {
        let wanted = Position::after(after);
        if let Some(known) = self.known(wanted) {
            return Ok(known);
        }
        // Held through the read: whoever waited for it may find that it read what was wanted.
        let _reading = self.reading.lock().await;
        if let Some(known) = self.known(wanted) {
            return Ok(known);
        }
        self.wait_for_a_token().await;
        self.metrics.direct_read(reason);
        // At the end of the log every read brings something new: only what others may want too is kept, and read ahead.
        let is_filling = matches!(reason, ReadReason::CatchUp | ReadReason::Rebuild);
        let events = self.next_of_store(after, is_filling).await.map_err(ReadError::Log)?;
        let mut chunk = Vec::with_capacity(events.len());
        let mut previous = hash;
        for event in events {
            let position = event.position;
            let entry = Entry::linked(previous, event, Source::Direct);
            let entry = entry.filter(|entry| entry.position == wanted.plus(chunk.len() as u64));
            let entry = entry.ok_or(ReadError::Fork { position })?;
            if let Some(registry) = registry {
                // Whoever folds it will see the error.
                let _ = entry.event(registry);
            }
            previous = entry.hash;
            chunk.push(entry);
        }
        if is_filling && !chunk.is_empty() {
            let mut chunks = self.chunks.lock();
            chunks.push_back(chunk.as_slice().into());
            let surplus = chunks.len().saturating_sub(self.filling.chunks_max());
            chunks.drain(..surplus);
        }
        Ok(chunk)
    }

    /// What follows on `after` in the store. Where that is as much as one read brings, there is more, which whoever is filled
    /// wants next: it is read meanwhile.
    async fn next_of_store(
        &self,
        after: Option<Position>,
        is_filling: bool,
    ) -> Result<Vec<Arc<StoredEvent>>, command_database::Error> {
        let ahead = {
            let mut ahead = self.ahead.lock();
            if ahead.as_ref().is_some_and(|ahead| Some(ahead.after) == after) { ahead.take() } else { None }
        };
        let read = match ahead {
            Some(ahead) => ahead.events.await.and_then(Result::ok).filter(|events| !events.is_empty()),
            None => None,
        };
        let events = match read {
            Some(events) => events,
            None => self.store.read(after, CHUNK).await?,
        };
        let is_full = || {
            let bytes = || events.iter().map(|event| event.payload.len()).sum::<usize>();
            events.len() >= CHUNK.events_max || bytes() >= CHUNK.bytes_max
        };
        if let Some(last) = events.last().filter(|_| is_filling && is_full()) {
            let (store, after) = (self.store.clone(), last.position);
            let reading = async move { store.read(Some(after), CHUNK).await };
            let events = self.runtime.spawn("event-handler read of the log", reading);
            *self.ahead.lock() = Some(Ahead { after, events });
        }
        Ok(events)
    }

    fn known(&self, wanted: Position) -> Option<Vec<Entry>> {
        self.chunks.lock().iter().find_map(|chunk| part_from(chunk, wanted))
    }

    async fn wait_for_a_token(&self) {
        loop {
            let taken = self.bucket.lock().take(self.runtime.now());
            match taken {
                Ok(()) => return,
                Err(wait) => self.runtime.sleep(wait.min(Duration::from_secs(1))).await,
            }
        }
    }
}

fn part_from(chunk: &[Entry], wanted: Position) -> Option<Vec<Entry>> {
    let first = chunk.first()?.position;
    let skipped = usize::try_from(wanted.get().checked_sub(first.get())?).ok()?;
    chunk.get(skipped..).filter(|part| !part.is_empty()).map(<[Entry]>::to_vec)
}
