//! What the store answered, and what follows from it for commands and streams.

use std::sync::Arc;

use command_database::{Error, Outcome, Snapshot};
use model::{ConsistencyToken, EpochId, EventId, EventType, Position, StreamVersion};
use tracing::{error, warn};

use crate::{
    AcceptedEvent, CommandOutcome, UnavailableReason,
    executor::RETRY_AFTER,
    job::{Guess, Job},
    load::{self, Loads, Rebuilt},
    replay,
    shard::{Appended, Done, Pending, Shard, Then},
    streams::State,
};

impl Shard {
    pub(crate) fn complete(&mut self, done: Done) {
        match done {
            Done::Loaded(loads) => self.loaded(loads),
            Done::Rebuilt(slot, rebuilt) => self.rebuilt(slot, rebuilt),
            Done::SnapshotSaved => self.snapshot_under_way = false,
            Done::Answered => {}
        }
    }

    pub(crate) fn appended(&mut self, Appended { pending, result }: Appended) {
        match result {
            Ok(outcomes) => {
                // Before the answers: whoever is woken last runs first, and the relay is for another thread.
                self.core.group.announce(&outcomes);
                for (pending, outcome) in pending.into_iter().zip(outcomes) {
                    self.decided(pending, outcome);
                }
            }
            Err(error) => self.failed(pending, &error),
        }
    }

    fn decided(&mut self, pending: Pending, outcome: Outcome) {
        let Pending { slot, mut job, then, snapshot } = pending;
        let evolved = matches!(&then, Then::Accept { types, .. } if !types.is_empty());
        let stream = &mut self.streams[slot];
        stream.under_way -= 1;
        match outcome {
            Outcome::Committed { first, version, head, epoch } => {
                stream.confirm();
                if job.guess == Guess::Made {
                    job.learn(true);
                }
                self.enter(epoch);
                if let Some(snapshot) = snapshot {
                    self.save(snapshot);
                }
                match then {
                    Then::Accept { before, types } => {
                        let outcome = accepted(&job, before, &types, Durable { first, version, head, epoch });
                        job.answer(outcome);
                    }
                    Then::Answer(outcome) => job.answer(outcome),
                    Then::LookUp(outcome) => self.look_up(job, outcome),
                }
            }
            void => {
                if snapshot.is_some() {
                    self.snapshot_under_way = false;
                }
                self.void(slot, job, &then, evolved, void);
            }
        }
        self.advance(slot);
    }

    /// Nothing was written: what was decided, and what was decided after it, is void.
    fn void(&mut self, slot: usize, mut job: Box<Job>, then: &Then, evolved: bool, outcome: Outcome) {
        let stream = &mut self.streams[slot];
        match outcome {
            Outcome::VersionConflict { current } => {
                // Those decided after this one meet the same conflict and come back by themselves.
                stream.state = State::Absent;
                if job.guess == Guess::Made {
                    // A guess that was wrong is no lost race.
                    job.learn(false);
                    return stream.wait_again(job);
                }
                self.core.metrics.conflicts.inc();
                if !job.request.precondition.is_met_by(current) {
                    let failed = CommandOutcome::PreconditionFailed { current };
                    return if matches!(then, Then::LookUp(_)) {
                        self.look_up(job, failed)
                    } else {
                        job.answer(failed)
                    };
                }
                job.tries += 1;
                if job.tries > self.core.config.conflict_retries_max {
                    return job.answer(CommandOutcome::VersionConflict { current });
                }
                stream.wait_again(job);
            }
            Outcome::Replayed(record) => {
                if evolved {
                    stream.state = State::Absent;
                }
                let store = Arc::clone(&self.core.store);
                self.waits.push(Box::pin(async move {
                    let outcome = replay::outcome(&*store, &job, record).await;
                    job.answer(outcome);
                    Done::Answered
                }));
            }
            Outcome::KeyReused => {
                if evolved {
                    stream.state = State::Absent;
                }
                job.answer(CommandOutcome::IdempotencyKeyReused);
            }
            Outcome::Committed { .. } => job.answer(CommandOutcome::Internal),
        }
    }

    fn failed(&mut self, batch: Vec<Pending>, error: &Error) {
        let outcome = unwritten(error);
        error!(
            error = %chain(error), batch.commands = batch.len(), first.stream.id = ?batch.first().map(|first| first.job.stream.to_string()),
            "a batch of commands was not committed"
        );
        for Pending { slot, job, snapshot, .. } in batch {
            let stream = &mut self.streams[slot];
            stream.under_way -= 1;
            stream.state = State::Absent;
            if snapshot.is_some() {
                self.snapshot_under_way = false;
            }
            job.answer(outcome.clone());
            self.advance(slot);
        }
    }

    /// Looks an idempotency key up, and answers `outcome` where nothing is stored under it.
    pub(crate) fn look_up(&mut self, job: Box<Job>, outcome: CommandOutcome) {
        let store = Arc::clone(&self.core.store);
        self.waits.push(Box::pin(async move {
            let outcome = replay::stored_or(&*store, &job, outcome).await;
            job.answer(outcome);
            Done::Answered
        }));
    }

    fn loaded(&mut self, loads: Loads) {
        for (slot, result) in loads {
            match result {
                Ok(loaded) => {
                    let kind = Arc::clone(&self.streams[slot].kind);
                    let stream = self.streams[slot].id.clone();
                    if let Some(rebuilt) = load::rebuild_now(&kind, &stream, &loaded) {
                        self.rebuilt(slot, rebuilt);
                    } else {
                        let store = Arc::clone(&self.core.store);
                        self.waits.push(Box::pin(async move {
                            Done::Rebuilt(slot, load::rebuild(&*store, &kind, &stream, loaded).await)
                        }));
                    }
                }
                Err(error) => {
                    error!(stream.id = %self.streams[slot].id, error = %chain(&error), "cannot load a stream");
                    self.rebuilt(slot, Err(unread(&error)));
                }
            }
        }
    }

    fn rebuilt(&mut self, slot: usize, rebuilt: Result<Rebuilt, CommandOutcome>) {
        let stream = &mut self.streams[slot];
        match rebuilt {
            Ok(Rebuilt { instance, version, snapshot_events }) => {
                stream.state = State::Known(instance);
                stream.version = version;
                stream.snapshot_events = snapshot_events;
                if let Some(first) = stream.waiting.front_mut() {
                    first.learn(version.is_none());
                }
                if let Some(snapshot) = self.snapshot_if_due(slot) {
                    self.save(snapshot);
                }
                self.advance(slot);
            }
            Err(outcome) => {
                stream.state = State::Absent;
                for job in std::mem::take(&mut stream.waiting) {
                    job.answer(outcome.clone());
                }
            }
        }
    }

    fn save(&mut self, snapshot: Snapshot) {
        let store = Arc::clone(&self.core.store);
        self.waits.push(Box::pin(async move {
            if let Err(error) = store.save_snapshot(snapshot).await {
                warn!(error = %chain(&error), "cannot save a snapshot: the stream stays slow to load");
            }
            Done::SnapshotSaved
        }));
    }

    /// Another life of the log: memory may be ahead of it.
    fn enter(&mut self, epoch: EpochId) {
        if self.epoch.is_some_and(|known| known != epoch) {
            self.streams.forget();
        }
        self.epoch = Some(epoch);
    }
}

struct Durable {
    first: Option<Position>,
    version: Option<StreamVersion>,
    head: Option<Position>,
    epoch: EpochId,
}

fn accepted(job: &Job, before: Option<StreamVersion>, types: &[EventType], durable: Durable) -> CommandOutcome {
    let Durable { first, version, head, epoch } = durable;
    let mut events = Vec::with_capacity(types.len());
    if let Some(first) = first {
        for (index, event_type) in (0..).zip(types) {
            events.push(AcceptedEvent {
                id: EventId::derived(job.command_id, index),
                event_type: event_type.clone(),
                version: StreamVersion::after(before).plus(index.into()),
                position: first.plus(index.into()),
            });
        }
    }
    let last = events.last().map(|event| event.position);
    CommandOutcome::Accepted {
        command_id: job.command_id,
        version,
        created: before.is_none() && !events.is_empty(),
        token: last.or(head).map(|position| ConsistencyToken { epoch, position }),
        trace_id: last.map(|_| job.trace().trace_id),
        events,
        replayed: false,
    }
}

/// What the commands of a batch are answered that failed as a whole.
fn unwritten(error: &Error) -> CommandOutcome {
    let unavailable = |reason| CommandOutcome::Unavailable { reason, retry_after: RETRY_AFTER };
    match error {
        Error::StorageFull { .. } => unavailable(UnavailableReason::StorageFull),
        Error::Overloaded { .. } => unavailable(UnavailableReason::Overloaded),
        Error::Read { .. } | Error::Write { .. } => unavailable(UnavailableReason::Database),
        Error::BatchTooLarge { .. } => CommandOutcome::TooLarge { detail: error.to_string() },
        Error::Corrupt { .. } | Error::Damaged { .. } => CommandOutcome::Internal,
        // A commit whose answer is missing, a worker that ended at an unknown point, and whatever is added later.
        _ => CommandOutcome::Unknown,
    }
}

/// What a command is answered when what it needs cannot be read. Nothing was written.
pub(crate) fn unread(error: &Error) -> CommandOutcome {
    match error {
        Error::Corrupt { .. } | Error::Damaged { .. } => CommandOutcome::Internal,
        _ => CommandOutcome::Unavailable { reason: UnavailableReason::Database, retry_after: RETRY_AFTER },
    }
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
