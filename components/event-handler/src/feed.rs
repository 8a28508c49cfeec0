//! Fills the inbox: from the queue, and from the log where the queue left something out or is out itself.
//!
//! One task, so that the two feeds cannot overtake each other. It never waits for a projection.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use message_queue::{Delivery, MessageQueue, Subscription};
use model::{EpochId, Hash, Lineage, Position, StoredEvent};
use tracing::{error, info, warn};

use crate::{
    direct::{ReadError, ReadReason},
    entry::{Entry, Source, chain_of},
    history,
    mode::{Limits, Mode, Reason, decide},
    process::Process,
    status::{Seen, Switch},
    watch::Watch,
};

/// How often the mode is thought about while the log has more than was received.
const TICK: Duration = Duration::from_millis(10);
/// A read that brought fewer events than this came close to the end of the log.
const MUCH: usize = 256;
const READS_A_TICK_MAX: usize = 8;
const MESSAGES_MAX: usize = 1024;
const RESUBSCRIBE_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Feed {
    process: Arc<Process>,
    /// The last position received, by either feed, and its hash.
    end: Option<Position>,
    hash: Hash,
    receiving: BoxFuture<'static, Received>,
    /// What a gap would be: something missed by being away or too slow, or a hole.
    gap: ReadReason,
    tick_at: Option<Duration>,
    watch: Watch,
    /// An epoch that messages came from and the log did not know when it was asked.
    stranger: Option<EpochId>,
}

/// The subscription comes back with each result: the future of a `next` is never dropped half-way.
enum Received {
    Messages(Box<dyn Subscription>, Vec<Delivery>),
    Overrun(Box<dyn Subscription>),
    Undecodable(Box<dyn Subscription>, message_queue::Error),
    Lost(message_queue::Error),
}

async fn subscribe(queue: Arc<dyn MessageQueue>, after: Option<Position>) -> Received {
    match queue.subscribe(after).await {
        Ok(subscription) => next(subscription).await,
        Err(error) => Received::Lost(error),
    }
}

async fn next(mut subscription: Box<dyn Subscription>) -> Received {
    match subscription.next(MESSAGES_MAX).await {
        Ok(deliveries) => Received::Messages(subscription, deliveries),
        Err(message_queue::Error::Overrun { .. }) => Received::Overrun(subscription),
        Err(error @ message_queue::Error::Undecodable { .. }) => Received::Undecodable(subscription, error),
        Err(error) => Received::Lost(error),
    }
}

impl Feed {
    /// A feed that goes on after the event at `end`, whose hash is `hash`.
    pub(crate) fn new(process: Arc<Process>, end: Option<Position>, hash: Hash) -> Self {
        process.inbox.start_after(end);
        let watch = Watch::new(process.runtime.now(), process.config.start_grace);
        let receiving = subscribe(process.queue.clone(), end).boxed();
        Self { process, end, hash, receiving, gap: ReadReason::CatchUp, tick_at: None, watch, stranger: None }
    }

    /// Runs until the process ends.
    pub(crate) async fn run(mut self) {
        let process = self.process.clone();
        let shutdown = process.shutdown.requested();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let now = process.runtime.now();
            // A deadline, not a span: what comes in between does not put it off.
            self.tick_at = self.timer().map(|span| self.tick_at.unwrap_or(now + span));
            if let Some(due) = self.tick_at.filter(|at| *at <= now) {
                self.tick_at = None;
                self.tick(Some(due)).await;
                continue;
            }
            let timer = async {
                match self.tick_at {
                    Some(at) => process.runtime.sleep(at.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = process.log_changed.notified() => self.review().await,
                received = &mut self.receiving => self.received(received).await,
                // The loop sees that it is due.
                () = timer => {}
                () = process.head_moved.notified() => self.tick(None).await,
            }
        }
    }

    /// When to think again without being woken; `None` while all that is known of has come.
    fn timer(&self) -> Option<Duration> {
        match self.watch.mode {
            Mode::Queue if self.watch.behind_since.is_none() => None,
            Mode::Queue | Mode::Suspect => Some(TICK),
            Mode::Direct | Mode::Probing => Some(self.process.config.direct_poll),
        }
    }

    async fn received(&mut self, received: Received) {
        match received {
            Received::Messages(subscription, deliveries) => {
                self.receiving = next(subscription).boxed();
                self.take(deliveries).await;
            }
            Received::Overrun(subscription) => {
                info!("the queue overran its reader; what was missed is read from the log");
                self.gap = ReadReason::CatchUp;
                self.receiving = next(subscription).boxed();
            }
            Received::Undecodable(subscription, error) => {
                warn!(error = %chain_of(&error), "a message was dropped; its event is read from the log");
                self.process.metrics.messages_refused.inc();
                self.receiving = next(subscription).boxed();
            }
            Received::Lost(error) => {
                warn!(error = %chain_of(&error), "the subscription ended; subscribing again");
                let (process, end) = (self.process.clone(), self.end);
                self.receiving = async move {
                    process.runtime.sleep(RESUBSCRIBE_PAUSE).await;
                    subscribe(process.queue.clone(), end).await
                }
                .boxed();
            }
        }
        // What came may end a suspicion, or be the canary.
        self.think();
    }

    /// Takes what the queue brought. A message that follows on the last one is taken, an older one dropped, and before a
    /// newer one the log is read.
    async fn take(&mut self, deliveries: Vec<Delivery>) {
        self.meet(&deliveries).await;
        let lineage = self.process.board.lineage();
        let in_order = self.watch.follows(&deliveries);
        let last = deliveries.last().map(|delivery| delivery.event.position);
        let mut taken = Vec::with_capacity(deliveries.len());
        let mut fits = true;
        for Delivery { event, .. } in deliveries {
            let position = event.position;
            if Some(position) <= self.end {
                continue;
            }
            if position > Position::after(self.end) {
                self.process.inbox.push(std::mem::take(&mut taken));
                self.close_gap(position).await;
            }
            if position == Position::after(self.end) {
                match self.fitting(&lineage, event) {
                    Some(entry) => taken.push(entry),
                    None => {
                        fits = false;
                        self.process.inbox.push(std::mem::take(&mut taken));
                        self.read_up_to(position, ReadReason::Hole).await;
                    }
                }
            }
        }
        if !taken.is_empty() {
            self.process.inbox.push(taken);
        }
        self.gap = ReadReason::Hole;
        self.watch.hear(self.process.runtime.now(), last, in_order && fits);
        if self.process.board.seen.lock().head <= self.end {
            self.watch.behind_since = None;
        }
    }

    /// Finds out about an epoch that messages come from and that is not known: the queue may be quicker than the head poll.
    /// Once for each, since a queue may also keep messages of a log that is no more.
    async fn meet(&mut self, deliveries: &[Delivery]) {
        let stranger = history::stranger(&self.process.board.lineage(), deliveries);
        if stranger.is_some() && stranger != self.stranger {
            self.stranger = stranger;
            self.review().await;
        }
    }

    /// The entry for a message that is next by its position, if it is of this log.
    fn fitting(&mut self, lineage: &Lineage, event: Arc<StoredEvent>) -> Option<Entry> {
        let (position, epoch) = (event.position, event.epoch);
        let entry = if lineage.epoch_of(position) == Some(epoch) {
            Entry::linked(self.hash, event, Source::Queue)
        } else {
            None
        };
        match &entry {
            Some(entry) => (self.end, self.hash) = (Some(entry.position), entry.hash),
            None => {
                self.process.metrics.messages_refused.inc();
                warn!(event.position = position.get(), epoch = %epoch, "a message does not fit the log and was dropped");
            }
        }
        entry
    }

    async fn close_gap(&mut self, position: Position) {
        let reason = self.gap;
        if reason == ReadReason::Hole {
            self.process.metrics.holes_found.inc();
            warn!(event.position = position.get(), "the queue left out events; they are read from the log");
        }
        let before = Position::new(position.get() - 1).unwrap_or(Position::FIRST);
        self.read_up_to(before, reason).await;
        if reason == ReadReason::Hole && self.end >= Some(before) {
            self.process.metrics.holes_healed.inc();
        }
    }

    async fn read_up_to(&mut self, last: Position, reason: ReadReason) {
        while self.end < Some(last) && !self.process.shutdown.is_requested() {
            if self.read(reason).await == 0 {
                return;
            }
        }
    }

    /// Reads once what follows in the log; how many events that were.
    async fn read(&mut self, reason: ReadReason) -> usize {
        match self.process.log.read(self.end, self.hash, reason).await {
            Ok(entries) => {
                let count = entries.len();
                if let Some(last) = entries.last() {
                    (self.end, self.hash) = (Some(last.position), last.hash);
                    self.process.inbox.push(entries);
                }
                count
            }
            Err(error @ ReadError::Fork { .. }) => {
                error!(error = %chain_of(&error), "the log is not the one that was read before");
                self.review().await;
                0
            }
            Err(error @ ReadError::Log(_)) => {
                // The next message, or the next look at the head, tries again.
                warn!(error = %chain_of(&error), "the log cannot be read");
                self.process.pause(TICK).await;
                0
            }
        }
    }

    /// `due` is when it was to happen, if that was planned.
    async fn tick(&mut self, due: Option<Duration>) {
        let now = self.process.runtime.now();
        if due.is_some_and(|due| now.saturating_sub(due) >= self.process.config.suspect_after / 2) {
            // A process that was stopped, or too busy, did not listen: that the queue was silent says nothing.
            self.watch.silent_since = self.watch.silent_since.max(now);
        }
        self.observe_head(now);
        self.think();
        if self.watch.mode == Mode::Suspect {
            self.watch.log_has_more = self.read(ReadReason::Outage).await > 0;
            self.think();
        } else if matches!(self.watch.mode, Mode::Direct | Mode::Probing) {
            // A few at once to catch up; never so many that the queue is not listened to meanwhile.
            for _ in 0..READS_A_TICK_MAX {
                if self.read(ReadReason::Outage).await < MUCH {
                    break;
                }
            }
        }
    }

    fn observe_head(&mut self, now: Duration) {
        let Seen { head, at } = *self.process.board.seen.lock();
        self.watch.remember(at, head);
        // While the log is read it is what the queue brought that counts: what was received is the log's own doing.
        let reached = match self.watch.mode {
            Mode::Queue | Mode::Suspect => self.end,
            Mode::Direct | Mode::Probing => self.watch.queue_last,
        };
        if head <= reached {
            self.watch.behind_since = None;
        } else if self.watch.behind_since.is_none() {
            self.watch.behind_since = Some(now);
        }
    }

    fn think(&mut self) {
        let config = &self.process.config;
        let limits = Limits {
            suspect_after: config.suspect_after,
            probing_min: config.probing_min,
            probing_batches_min: config.probing_batches_min,
        };
        let now = self.process.runtime.now();
        let head = self.process.board.seen.lock().head;
        let seen = self.watch.observed(now, head);
        if let Some((to, reason)) = decide(self.watch.mode, &seen, &limits) {
            self.switch(to, reason, now);
        }
    }

    fn switch(&mut self, to: Mode, reason: Reason, now: Duration) {
        let from = self.watch.mode;
        self.watch.enter(to, now);
        let at = self.process.runtime.wall_clock();
        *self.process.board.mode.lock() = (to, Some(Switch { from, to, reason, at }));
        self.process.metrics.switched(from, to, reason);
        let (received, head) = (Position::count(self.end), Position::count(self.process.board.seen.lock().head));
        let (from, name, reason) = (from.name(), to.name(), reason.name());
        if to == Mode::Direct {
            warn!(
                mode.from = from,
                mode.to = name,
                reason,
                received,
                head,
                "the queue is out; reading the log directly"
            );
        } else {
            info!(mode.from = from, mode.to = name, reason, received, head, "the mode changed");
        }
    }

    /// Finds out whether what was received is still in the log, and makes every projection do the same.
    async fn review(&mut self) {
        self.process.log.forget();
        match self.review_once().await {
            Ok(()) => self.process.inbox.review(),
            Err(error) => {
                warn!(error = %chain_of(&error), "the log cannot be compared with what was received; trying again");
                self.process.pause(RESUBSCRIBE_PAUSE).await;
                self.process.log_changed.notify_one();
            }
        }
    }

    async fn review_once(&mut self) -> Result<(), command_database::Error> {
        let found = history::find(&self.process, self.end, self.hash).await?;
        let (at, head) = (self.process.runtime.now(), self.process.store.head().await?);
        *self.process.board.lineage.lock() = found.lineage;
        *self.process.board.seen.lock() = Seen { head: head.position, at };
        if !found.is_there {
            warn!(
                received = Position::count(self.end),
                head = Position::count(head.position),
                "the log no longer has what was received from it; going on from its head"
            );
            (self.end, self.hash) = (head.position, head.hash);
            self.process.inbox.start_after(head.position);
            self.watch.begin_anew(at);
        }
        Ok(())
    }
}
