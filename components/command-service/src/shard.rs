//! One shard: a task that decides the commands of its streams, in order, and hands what they come to on in batches.

use std::sync::Arc;

use command_database::{Answer, Append, EventStore, GroupCommit, Load, Snapshot};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use model::{EpochId, EventType, StreamVersion};
use runtime::give_way;

use crate::{
    CommandOutcome, Config, Metrics, UnavailableReason,
    executor::RETRY_AFTER,
    job::Job,
    load::{self, Loads, Rebuilt},
    mailbox::{Receiver, ReturnAddress},
    streams::{State, Streams},
};

/// Appends that may be committed on the spot.
const FEW_APPENDS: usize = 2;

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

/// What became of a submission.
pub(crate) struct Appended {
    pub(crate) pending: Vec<Pending>,
    pub(crate) result: Answer,
}

/// What else a shard waits for, once it is there.
pub(crate) enum Done {
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
    /// Counts the batches; this one is being collected.
    pub(crate) batch: u64,
    pub(crate) batch_events: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) loads: Vec<(usize, Load)>,
    pub(crate) waits: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(crate) epoch: Option<EpochId>,
    pub(crate) snapshot_under_way: bool,
    /// Whether a submission came back since the shard last gave way or handed on.
    has_answered: bool,
    /// Submissions of which nothing was heard yet.
    submissions: usize,
    returns: ReturnAddress,
    arrivals: u64,
}

impl Shard {
    fn new(core: Arc<Core>, returns: ReturnAddress) -> Self {
        let bytes_max = core.config.cache_bytes_max / core.config.shards.max(1);
        Self {
            core,
            streams: Streams::new(bytes_max),
            appends: Vec::new(),
            pending: Vec::new(),
            batch: 0,
            batch_events: 0,
            batch_bytes: 0,
            loads: Vec::new(),
            waits: FuturesUnordered::new(),
            epoch: None,
            snapshot_under_way: false,
            has_answered: false,
            submissions: 0,
            returns,
            arrivals: 0,
        }
    }

    /// Ends when nobody can send commands any more and all that were sent are answered.
    pub(crate) async fn run(core: Arc<Core>, mut mailbox: Receiver) {
        let mut shard = Self::new(core, mailbox.return_address());
        let (mut arrived, mut appended) = (Vec::new(), Vec::new());
        let mut open = true;
        while open || shard.submissions > 0 || !shard.waits.is_empty() {
            tokio::select! {
                biased;
                Some(done) = shard.waits.next(), if !shard.waits.is_empty() => shard.complete(done),
                may_come = mailbox.receive(&mut arrived, &mut appended), if open || shard.submissions > 0 => {
                    open = may_come;
                    for appended in appended.drain(..) {
                        shard.submissions -= 1;
                        shard.has_answered = true;
                        shard.appended(appended);
                    }
                    for job in arrived.drain(..) {
                        shard.arrive(job);
                    }
                }
            }
            // A commit on the spot keeps this thread, and with it the task that was woken last: an answered one goes first.
            if std::mem::take(&mut shard.has_answered) && matches!(shard.appends.len(), 1..=FEW_APPENDS) {
                give_way().await;
            }
            shard.flush();
            shard.streams.shrink();
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
            // With others about, a version that fits says who wrote it only within one batch: there a loser takes along what
            // was decided on it.
            let is_sure_of_events = self.core.config.sole_writer || stream.batch == self.batch;
            let Some(next) = stream.waiting.front_mut() else {
                return;
            };
            match &stream.state {
                State::Loading => return,
                State::Known(_) if stream.under_way == 0 || is_sure_of_events => {}
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
        self.batch += 1;
        (self.batch_events, self.batch_bytes) = (0, 0);
        self.submissions += 1;
        // The next one will be about as large.
        let pending = std::mem::take(&mut self.pending);
        self.pending.reserve(pending.len());
        let appends = std::mem::replace(&mut self.appends, Vec::with_capacity(pending.len()));
        let returns = self.returns.clone();
        self.core.group.submit_then(appends, move |answer| returns.send(pending, answer));
    }
}
