//! One shard: a task that decides the commands of its streams, in order, and hands what they come to on in batches.

use std::sync::Arc;

use command_database::{Append, Error, EventStore, GroupCommit, Load, Outcome, Snapshot};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use model::{EpochId, EventType, StreamVersion};
use tokio::sync::mpsc;

use crate::{
    CommandOutcome, Config, Metrics, UnavailableReason,
    executor::RETRY_AFTER,
    job::Job,
    load::{self, Loads, Rebuilt},
    streams::{State, Streams},
};

/// What all shards have in common.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) group: GroupCommit,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
}

/// An append under way, and what its command is answered once it has an outcome.
pub(crate) struct Pending {
    pub(crate) slot: usize,
    pub(crate) job: Box<Job>,
    pub(crate) then: Then,
    /// The state after it, to be kept once it is durable.
    pub(crate) snapshot: Option<Snapshot>,
}

pub(crate) enum Then {
    /// It has events, of these types, or is to answer that there are none.
    Accept { before: Option<StreamVersion>, types: Vec<EventType> },
    /// The append verified the state that this was decided on.
    Answer(CommandOutcome),
    /// As [`Then::Answer`], but the client's key was no part of the append: an earlier outcome under it goes first.
    LookUp(CommandOutcome),
}

/// What a shard waits for, once it is there.
pub(crate) enum Done {
    Appended { pending: Vec<Pending>, result: Result<Vec<Outcome>, Arc<Error>> },
    Loaded(Loads),
    Rebuilt(usize, Result<Rebuilt, CommandOutcome>),
    Answered,
    SnapshotSaved,
}

pub(crate) struct Shard {
    pub(crate) core: Arc<Core>,
    pub(crate) streams: Streams,
    pub(crate) appends: Vec<Append>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) batch_events: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) loads: Vec<(usize, Load)>,
    pub(crate) waits: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(crate) epoch: Option<EpochId>,
    pub(crate) snapshot_under_way: bool,
    arrivals: u64,
}

impl Shard {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let bytes_max = core.config.cache_bytes_max / core.config.shards.max(1);
        Self {
            core,
            streams: Streams::new(bytes_max),
            appends: Vec::new(),
            pending: Vec::new(),
            batch_events: 0,
            batch_bytes: 0,
            loads: Vec::new(),
            waits: FuturesUnordered::new(),
            epoch: None,
            snapshot_under_way: false,
            arrivals: 0,
        }
    }

    /// Ends when nobody can send commands any more and all that were sent are answered.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Box<Job>>) {
        let batch_max = self.core.config.batch_commands_max.max(1);
        let mut arrived = Vec::with_capacity(batch_max);
        let mut open = true;
        while open || !self.waits.is_empty() {
            tokio::select! {
                biased;
                Some(done) = self.waits.next(), if !self.waits.is_empty() => self.complete(done),
                count = queue.recv_many(&mut arrived, batch_max), if open => {
                    open = count > 0;
                    for job in arrived.drain(..) {
                        self.arrive(job);
                    }
                }
            }
            self.flush();
            self.streams.shrink();
        }
    }

    fn arrive(&mut self, mut job: Box<Job>) {
        job.order = self.arrivals;
        self.arrivals += 1;
        let slot = self.streams.slot_of(&job);
        let stream = &mut self.streams[slot];
        if stream.waiting.len() >= self.core.config.stream_waiting_max {
            let reason = UnavailableReason::Overloaded;
            return job.answer(CommandOutcome::Unavailable { reason, retry_after: RETRY_AFTER });
        }
        stream.waiting.push_back(job);
        self.advance(slot);
    }

    /// Decides what waits for the stream, as far as that is possible now; otherwise sees to it that it will be.
    pub(crate) fn advance(&mut self, slot: usize) {
        loop {
            let stream = &mut self.streams[slot];
            let Some(next) = stream.waiting.front_mut() else {
                return;
            };
            match &stream.state {
                State::Loading => return,
                State::Known(_) if self.core.config.sole_writer || stream.under_way == 0 => {}
                // An append that says "no stream" checks the assumption, and nothing is built on it before it did.
                State::Assumed(_) if stream.under_way == 0 && next.takes_stream_for_new() => {}
                State::Absent | State::Assumed(_) if stream.under_way == 0 => {
                    next.guess();
                    if next.takes_stream_for_new() {
                        stream.state = State::Assumed(stream.kind.aggregate.initial());
                        stream.version = None;
                        continue;
                    }
                    return self.load(slot);
                }
                State::Known(_) | State::Absent | State::Assumed(_) => return,
            }
            if let Some(job) = stream.waiting.pop_front() {
                self.decide(slot, job);
            }
        }
    }

    pub(crate) fn load(&mut self, slot: usize) {
        let stream = &mut self.streams[slot];
        stream.state = State::Loading;
        let load = Load { stream: stream.id.clone(), state_shape: stream.kind.state_shape };
        self.loads.push((slot, load));
    }

    /// Hands on what was collected: one batch of appends, one batch of loads. Nothing is waited for here.
    fn flush(&mut self) {
        if !self.appends.is_empty() {
            self.submit();
        }
        if !self.loads.is_empty() {
            let loads = std::mem::take(&mut self.loads);
            let store = Arc::clone(&self.core.store);
            self.waits.push(Box::pin(async move { Done::Loaded(load::load(&*store, loads).await) }));
        }
    }

    /// Hands on the appends. Batches are committed in the order they were handed on in.
    pub(crate) fn submit(&mut self) {
        (self.batch_events, self.batch_bytes) = (0, 0);
        let pending = std::mem::take(&mut self.pending);
        let appended = self.core.group.submit(std::mem::take(&mut self.appends));
        self.waits.push(Box::pin(async move { Done::Appended { pending, result: appended.await } }));
    }
}
