//! The relay: reads the log by position and publishes it, in order, as often as it takes.
//!
//! The log is the outbox. The cursor moves only after a verified acknowledgement, and what lies between the stored and the
//! true cursor is published again after a crash: readers drop what they have.

use std::{sync::Arc, time::Duration};

use command_database::{EventStore, ReadLimit, RelayLease};
use futures_util::future::{BoxFuture, Either, select};
use message_queue::{Error, MessageQueue, QueueLife};
use model::{EpochId, Position, StoredEvent};
use runtime::{Runtime, Shutdown, Task, give_way};
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    Metrics,
    complete::chain,
    telemetry::{store, whole},
};

/// How the relay goes about it.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Who this relay is in the lease; made up at start where there is none. A process that alone has the log may always be
    /// the same one: it then need not wait until the lease of its former life has ended.
    pub holder: Option<Uuid>,
    /// How long the lease lasts; it is renewed at a third of that.
    pub lease_ttl: Duration,
    /// How often the log is asked when nothing wakes the relay.
    pub idle_poll: Duration,
    /// How often the queue is asked, while there is nothing to publish, whether it is still in the same life.
    pub life_poll: Duration,
    /// How far apart the stored cursors are at least.
    pub cursor_interval: Duration,
    /// The longest pause between two attempts.
    pub backoff_max: Duration,
    /// Most of one batch.
    pub batch: ReadLimit,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            holder: None,
            lease_ttl: Duration::from_secs(5),
            idle_poll: Duration::from_millis(5),
            life_poll: Duration::from_millis(100),
            cursor_interval: Duration::from_secs(1),
            backoff_max: Duration::from_millis(500),
            batch: ReadLimit::default(),
        }
    }
}

/// A running relay. It goes on when this handle is dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Shutdown,
    ended: Task<()>,
}

impl Relay {
    /// Starts relaying from `log` to `queue`. `head` wakes it; where another process appends, it finds out by itself.
    #[must_use]
    pub fn start(
        runtime: &Runtime,
        log: Arc<dyn EventStore>,
        queue: Arc<dyn MessageQueue>,
        head: watch::Receiver<Option<Position>>,
        config: RelayConfig,
        metrics: &Metrics,
    ) -> Self {
        let stop = Shutdown::new();
        let work = Work {
            holder: config.holder.unwrap_or_else(|| runtime.uuid()),
            runtime: runtime.clone(),
            log,
            queue,
            head,
            config,
            metrics: metrics.clone(),
            stop: stop.clone(),
            failures: 0,
            behind_since: None,
            poll: None,
        };
        Self { stop, ended: runtime.spawn("relay", work.run()) }
    }

    /// Publishes what is committed, stores the cursor, gives the lease back. A queue that fails meanwhile is not tried again:
    /// what it lacks is published after the next start.
    pub async fn drain(self) {
        self.stop.request();
        self.ended.await;
    }
}

struct Work {
    runtime: Runtime,
    log: Arc<dyn EventStore>,
    queue: Arc<dyn MessageQueue>,
    head: watch::Receiver<Option<Position>>,
    config: RelayConfig,
    metrics: Metrics,
    stop: Shutdown,
    holder: Uuid,
    /// Attempts in a row that failed.
    failures: u32,
    /// When the event after the cursor was first seen.
    behind_since: Option<Duration>,
    /// Until when to wait for being woken. It lasts over many waits: a timer for each of them would cost more than they do.
    poll: Option<BoxFuture<'static, ()>>,
}

/// The lease and the cursor under it.
struct Tenure {
    token: u64,
    cursor: Option<Position>,
    /// The epoch that the log was in when it was last asked.
    epoch: Option<EpochId>,
    renewed: Duration,
    stored: Option<Position>,
    stored_at: Duration,
}

/// Why the inner loop of one life of the queue ended.
enum Ended {
    /// The queue may have lost something: ask it where to go on.
    Life,
    /// Somebody else relays now.
    Lease,
    /// A drain has come to its end.
    Drained,
}

impl Work {
    async fn run(mut self) {
        while let Some(lease) = self.lease().await {
            let now = self.runtime.now();
            let RelayLease { token, cursor } = lease;
            let mut tenure = Tenure { token, cursor, epoch: None, renewed: now, stored: cursor, stored_at: now };
            loop {
                match self.relay(&mut tenure).await {
                    Ended::Life => {}
                    Ended::Lease => {
                        info!("another relay has the lease");
                        break;
                    }
                    Ended::Drained => {
                        self.store_cursor(&mut tenure).await;
                        // A lease of no length has ended: whoever comes next need not wait.
                        let _ = self.log.lease_relay(self.holder, Duration::ZERO).await;
                        return;
                    }
                }
            }
        }
    }

    /// Waits for the lease; `None` when the relay is to end before it has one.
    async fn lease(&mut self) -> Option<RelayLease> {
        loop {
            match self.log.lease_relay(self.holder, self.config.lease_ttl).await {
                Ok(Some(lease)) => {
                    self.failures = 0;
                    return Some(lease);
                }
                Ok(None) => self.pause(self.config.lease_ttl / 3).await,
                Err(error) => {
                    warn!(error = %chain(&error), "the relay cannot take its lease");
                    self.back_off().await;
                }
            }
            if self.stop.is_requested() {
                return None;
            }
        }
    }

    /// Publishes for as long as the queue's life and the lease last.
    async fn relay(&mut self, tenure: &mut Tenure) -> Ended {
        let (life, resume_after) = match self.resume(tenure.cursor).await {
            Ok(resume) => resume,
            Err(error) => {
                // Once, then ever more rarely: an outage is one fact, however often it is met.
                if self.failures == 0 || self.failures.is_power_of_two() {
                    warn!(error = %error, attempt.count = self.failures + 1, "the message queue does not say where to go on");
                }
                return self.failed(Ended::Life).await;
            }
        };
        tenure.cursor = tenure.cursor.min(resume_after);
        let mut life_seen = self.runtime.now();
        loop {
            if !self.keep(tenure).await {
                return Ended::Lease;
            }
            // Marked as seen before the read: what is committed after the read wakes the wait.
            let head = *self.head.borrow_and_update();
            let events = match self.log.read(tenure.cursor, self.config.batch).await {
                Ok(events) => events,
                Err(error) => {
                    warn!(error = %chain(&error), "the relay cannot read the log");
                    match self.failed(Ended::Life).await {
                        Ended::Life => continue,
                        ended => return ended,
                    }
                }
            };
            self.observe(head.max(events.last().map(|event| event.position)), tenure.cursor);
            if events.is_empty() {
                self.failures = 0;
                if self.stop.is_requested() {
                    return Ended::Drained;
                }
                self.idle(tenure.cursor).await;
                let now = self.runtime.now();
                if now.saturating_sub(life_seen) >= self.config.life_poll {
                    life_seen = now;
                    if self.queue.life().await != Ok(life) {
                        return Ended::Life;
                    }
                    self.follow(tenure).await;
                }
                continue;
            }
            if let Err(ended) = self.publish(tenure, life, events).await {
                return ended;
            }
            let head = *self.head.borrow();
            if head.is_some() && head <= tenure.cursor {
                // Most likely that was all, and what else there is is found at the next look.
                self.idle(tenure.cursor).await;
            }
        }
    }

    /// Goes back to where the log's present life begins, should another one have begun below the cursor: what was published
    /// from there on is not in the log any more.
    async fn follow(&mut self, tenure: &mut Tenure) {
        // What cannot be read now is asked again soon.
        let Ok(lineage) = self.log.lineage().await else { return };
        let Some(present) = lineage.current() else { return };
        let known = tenure.epoch.replace(present.id);
        let before = Position::new(present.first.get() - 1);
        if known.is_some_and(|known| known != present.id) && before < tenure.cursor {
            info!(epoch = %present.id, "the log has begun another life; its events are published from there on");
            tenure.cursor = before;
        }
    }

    /// Publishes one batch and moves the cursor. Whatever is wrong, the queue is asked anew where to go on.
    async fn publish(
        &mut self,
        tenure: &mut Tenure,
        life: QueueLife,
        events: Vec<Arc<StoredEvent>>,
    ) -> Result<(), Ended> {
        let Some(last) = events.last().map(|event| event.position) else {
            return Ok(());
        };
        match self.queue.publish(events).await {
            Ok(acknowledged) if acknowledged.life == life && acknowledged.last == last => {
                self.failures = 0;
                tenure.cursor = Some(last);
                self.behind_since = None;
                let head = *self.head.borrow();
                self.observe(head, tenure.cursor);
                Ok(())
            }
            Ok(_) | Err(Error::WrongLife) => {
                self.metrics.publish_retries.inc();
                info!("the message queue has begun another life");
                Err(self.failed(Ended::Life).await)
            }
            Err(error) => {
                self.metrics.publish_retries.inc();
                warn!(error = %error, attempt.count = self.failures + 1, "the message queue did not take a batch");
                Err(self.failed(Ended::Life).await)
            }
        }
    }

    async fn resume(&mut self, cursor: Option<Position>) -> Result<(QueueLife, Option<Position>), Error> {
        // In this order: a life that begins in between is noticed at the first acknowledgement.
        let life = self.queue.life().await?;
        Ok((life, self.queue.resume_after(cursor).await?))
    }

    /// Renews the lease and stores the cursor, each when it is time. `false` when the lease is lost.
    async fn keep(&mut self, tenure: &mut Tenure) -> bool {
        let now = self.runtime.now();
        if now.saturating_sub(tenure.renewed) >= self.config.lease_ttl / 3 {
            match self.log.lease_relay(self.holder, self.config.lease_ttl).await {
                Ok(Some(lease)) => (tenure.token, tenure.renewed) = (lease.token, now),
                Ok(None) => return false,
                // Two relays at once do no harm: this one goes on until it hears of another.
                Err(error) => warn!(error = %chain(&error), "the relay cannot renew its lease"),
            }
        }
        if now.saturating_sub(tenure.stored_at) >= self.config.cursor_interval {
            return self.store_cursor(tenure).await;
        }
        true
    }

    async fn store_cursor(&mut self, tenure: &mut Tenure) -> bool {
        tenure.stored_at = self.runtime.now();
        let Some(cursor) = tenure.cursor.filter(|_| tenure.cursor != tenure.stored) else {
            return true;
        };
        match self.log.store_relay_cursor(tenure.token, cursor).await {
            Ok(true) => {
                tenure.stored = Some(cursor);
                true
            }
            Ok(false) => false,
            Err(error) => {
                warn!(error = %chain(&error), "the relay cannot store its cursor");
                true
            }
        }
    }

    /// Waits until the log may have more than what comes up to `cursor`.
    async fn idle(&mut self, cursor: Option<Position>) {
        let Self { runtime, config, head, stop, poll, .. } = self;
        loop {
            let due = poll.get_or_insert_with(|| runtime.sleep(config.idle_poll));
            tokio::select! {
                biased;
                // Nobody left to wake the relay: then it polls. Those who wait for an answer go before it.
                Ok(()) = head.changed() => {
                    give_way().await;
                    // What is told late may have been read with what came after it.
                    if *head.borrow() > cursor {
                        return;
                    }
                }
                () = stop.requested() => return,
                () = due => return *poll = None,
            }
        }
    }

    /// Pauses after a failure, unless a drain waits for the end.
    async fn failed(&mut self, otherwise: Ended) -> Ended {
        if self.stop.is_requested() {
            return Ended::Drained;
        }
        self.back_off().await;
        otherwise
    }

    /// From 5 ms, doubled each time up to the limit; of that at random between half and all.
    async fn back_off(&mut self) {
        let doubled = Duration::from_millis(5).saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let micros = u64::try_from(doubled.min(self.config.backoff_max).as_micros()).unwrap_or(u64::MAX).max(2);
        let pause = Duration::from_micros(micros / 2 + self.runtime.random_u64() % (micros / 2));
        self.pause(pause).await;
    }

    async fn pause(&mut self, span: Duration) {
        let stop = std::pin::pin!(self.stop.requested());
        match select(stop, self.runtime.sleep(span)).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    fn observe(&mut self, head: Option<Position>, cursor: Option<Position>) {
        let behind = Position::count(head).saturating_sub(Position::count(cursor));
        self.metrics.outbox_events.set(whole(behind));
        let now = self.runtime.now();
        let since = if behind == 0 { None } else { Some(self.behind_since.unwrap_or(now)) };
        self.behind_since = since;
        store(&self.metrics.outbox_oldest_age, since.map_or(0.0, |since| now.saturating_sub(since).as_secs_f64()));
    }
}
