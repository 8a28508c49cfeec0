//! What the event handler is doing, for operators and tests.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use model::{Lineage, Position};
use parking_lot::Mutex;
use query_database::{Generation, HeadSeen, OwnerToken};
use serde::Serialize;

use crate::{
    mode::{Mode, Reason},
    telemetry::ProjectionMetrics,
};

/// A change of the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// The mode before.
    pub from: Mode,
    /// The mode after.
    pub to: Mode,
    /// Why.
    pub reason: Reason,
    /// When, by the wall clock.
    pub at: Timestamp,
}

/// One moment of an event handler.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Where events come from.
    pub mode: Mode,
    /// How that last changed; `None` where it never did.
    pub last_switch: Option<Switch>,
    /// The last position of the log as last seen; `None` while it is empty or was never seen.
    pub head: Option<Position>,
    /// The last position that was received.
    pub received: Option<Position>,
    /// Every projection, by name.
    pub projections: Vec<ProjectionStatus>,
}

/// One moment of a projection.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectionStatus {
    /// The read model's name.
    pub name: String,
    /// The fold's version.
    pub version: u32,
    /// The generation that this process keeps; `None` until it owns one.
    pub generation: Option<Generation>,
    /// Whether queries are answered from it. Where not, it is being filled beside the one that answers.
    pub serving: bool,
    /// The last event that its rows contain.
    pub checkpoint: Option<Position>,
    /// Events that it has yet to apply, as far as is known.
    pub lag_events: u64,
    /// Why it waits, if it does.
    pub held: Option<Arc<str>>,
    /// What is wrong with the generation that answers, if something is: its checkpoint is not one of this log.
    pub alarm: Option<Arc<str>>,
    /// Events applied that the queue brought.
    pub applied_from_queue: u64,
    /// Events applied that were read from the log.
    pub applied_from_log: u64,
    /// Whether this process keeps it. Otherwise it waits for its database, or stands by for another process.
    pub owned: bool,
}

/// The head of the log as last seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) head: Option<Position>,
    pub(crate) at: Duration,
}

impl Seen {
    /// For a commit of everything up to `applied`: whoever has all of that was up to date when the head was seen.
    pub(crate) fn for_commit(&self, applied: Option<Position>, now: Duration) -> HeadSeen {
        HeadSeen { position: self.head.max(applied), age: now.saturating_sub(self.at) }
    }
}

/// Where the tasks of a process write what they do.
pub(crate) struct Board {
    pub(crate) mode: Mutex<(Mode, Option<Switch>)>,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) lineage: Mutex<Arc<Lineage>>,
    pub(crate) slots: Vec<Slot>,
}

impl Board {
    pub(crate) fn new(projections: Vec<ProjectionStatus>, now: Duration) -> Self {
        Self {
            mode: Mutex::new((Mode::Queue, None)),
            seen: Mutex::new(Seen { head: None, at: now }),
            lineage: Mutex::default(),
            slots: projections.into_iter().map(|status| Slot::new(status, now)).collect(),
        }
    }

    pub(crate) fn status(&self, received: Option<Position>) -> Status {
        let (mode, last_switch) = *self.mode.lock();
        let head = self.seen.lock().head;
        let projections = self.slots.iter().map(|slot| slot.status(head.max(received))).collect();
        Status { mode, last_switch, head, received, projections }
    }

    pub(crate) fn lineage(&self) -> Arc<Lineage> {
        self.lineage.lock().clone()
    }

    /// Brings the lag of every projection up to `now`.
    pub(crate) fn measure(&self, now: Duration) {
        let head = self.seen.lock().head;
        self.slots.iter().for_each(|slot| slot.measure(head, now));
    }
}

/// What is known of one projection.
pub(crate) struct Slot(Mutex<State>);

struct State {
    status: ProjectionStatus,
    owner: Option<OwnerToken>,
    lineage: Arc<Lineage>,
    stored_at: Duration,
    level_at: Duration,
    metrics: Option<ProjectionMetrics>,
}

impl Slot {
    fn new(status: ProjectionStatus, now: Duration) -> Self {
        Self(Mutex::new(State {
            status,
            owner: None,
            lineage: Arc::default(),
            stored_at: now,
            level_at: now,
            metrics: None,
        }))
    }

    fn status(&self, head: Option<Position>) -> ProjectionStatus {
        let state = self.0.lock();
        let lag_events = Position::count(head).saturating_sub(Position::count(state.status.checkpoint));
        ProjectionStatus { lag_events, owned: state.owner.is_some(), ..state.status.clone() }
    }

    fn measure(&self, head: Option<Position>, now: Duration) {
        let mut state = self.0.lock();
        let (head, checkpoint) = (Position::count(head), Position::count(state.status.checkpoint));
        let lag = head.saturating_sub(checkpoint);
        if lag == 0 {
            state.level_at = now;
        }
        let Some(metrics) = &state.metrics else { return };
        metrics.lag_events.set(i64::try_from(lag).unwrap_or(i64::MAX));
        metrics.lag_seconds.set(now.saturating_sub(state.level_at).as_secs_f64());
        metrics.rebuild_ratio.set(if lag == 0 { 1.0 } else { checkpoint as f64 / head as f64 });
    }

    pub(crate) fn owned(&self, owned: &query_database::Owned, metrics: ProjectionMetrics) {
        let mut state = self.0.lock();
        state.status.generation = Some(owned.generation);
        state.status.serving = owned.serving;
        state.status.checkpoint = owned.position;
        state.owner = Some(owned.owner);
        metrics.position.set(i64::try_from(Position::count(owned.position)).unwrap_or(i64::MAX));
        state.metrics = Some(metrics);
    }

    /// What another owner has made of it.
    pub(crate) fn followed(&self, checkpoint: Option<Position>, serving: bool, held: Option<Arc<str>>) {
        let mut state = self.0.lock();
        state.status.checkpoint = checkpoint;
        state.status.serving = serving;
        if let Some(metrics) = &state.metrics {
            metrics.position.set(i64::try_from(Position::count(checkpoint)).unwrap_or(i64::MAX));
            metrics.held.set(i64::from(held.is_some()));
        }
        state.status.held = held;
    }

    pub(crate) fn disowned(&self) {
        self.0.lock().owner = None;
    }

    /// The checkpoint was found in the log of this lineage.
    pub(crate) fn found_in(&self, lineage: Arc<Lineage>) {
        self.0.lock().lineage = lineage;
    }

    /// The lineage of the log that the checkpoint was last found in: the one to be stored with it.
    pub(crate) fn lineage(&self) -> Arc<Lineage> {
        self.0.lock().lineage.clone()
    }

    pub(crate) fn switched(&self) {
        self.0.lock().status.serving = true;
    }

    pub(crate) fn held(&self, reason: Option<Arc<str>>) {
        let mut state = self.0.lock();
        if let Some(metrics) = &state.metrics {
            metrics.held.set(i64::from(reason.is_some()));
        }
        state.status.held = reason;
    }

    pub(crate) fn alarm(&self, what: Option<Arc<str>>) {
        let mut state = self.0.lock();
        if let Some(metrics) = &state.metrics {
            metrics.forked.set(i64::from(what.is_some()));
        }
        state.status.alarm = what;
    }

    pub(crate) fn applied(&self, checkpoint: Position, from_queue: u64, from_log: u64, now: Duration) {
        let mut state = self.0.lock();
        state.status.checkpoint = Some(checkpoint);
        state.status.applied_from_queue += from_queue;
        state.status.applied_from_log += from_log;
        state.stored_at = now;
        let Some(metrics) = &state.metrics else { return };
        metrics.position.set(i64::try_from(checkpoint.get()).unwrap_or(i64::MAX));
        metrics.from_queue.inc_by(from_queue);
        metrics.from_log.inc_by(from_log);
    }

    /// The generation, its owner and its checkpoint, where nothing was stored for it since `since`.
    pub(crate) fn idle_since(&self, since: Duration) -> Option<(Generation, OwnerToken)> {
        let state = self.0.lock();
        if state.stored_at > since {
            return None;
        }
        state.status.generation.zip(state.owner)
    }
}
