//! From a command to what is to be appended for it.

use command_database::{Append, Decision, ExpectedVersion, Snapshot};
use model::{Context, EventType, NewEvent, Rejection, StreamVersion};
use tracing::{debug_span, error};

use crate::{
    CommandOutcome,
    job::{Guess, Job},
    refusal::Refusal,
    shard::{Pending, Shard, Then},
    streams::State,
};

/// What a decision is made on.
#[derive(Clone, Copy)]
struct Basis {
    version: Option<StreamVersion>,
    /// Whether the log is known to be at this version, rather than expected to be.
    certain: bool,
}

impl Shard {
    fn basis(&self, slot: usize) -> Basis {
        let stream = &self.streams[slot];
        let known = stream.under_way == 0 && matches!(stream.state, State::Known(_));
        Basis { version: stream.version, certain: known && self.core.config.sole_writer }
    }

    /// Decides `job` on the state in memory, which may be ahead of the log by what is under way.
    pub(crate) fn decide(&mut self, slot: usize, job: Box<Job>) {
        let basis = self.basis(slot);
        let stream = &mut self.streams[slot];
        if !job.request.precondition.is_met_by(basis.version) {
            return self.settle(slot, job, basis, CommandOutcome::PreconditionFailed { current: basis.version });
        }
        let (State::Known(instance) | State::Assumed(instance)) = &mut stream.state else {
            // Only a stream in memory is advanced to a decision.
            return job.answer(CommandOutcome::Internal);
        };
        let context = job.context();
        let span = debug_span!(
            target: "diptych::hop", parent: None, "command-service",
            diptych.box = "command-service", diptych.hop = 3, trace_id = %format_args!("{:032x}", job.trace().trace_id),
            command.id = %job.command_id, stream.id = %job.stream
        );
        let fields: &[u8] = if job.request.fields.is_empty() { b"{}" } else { &job.request.fields };
        match span.in_scope(|| instance.execute(&job.request.command, fields, &context)) {
            // No append would tell whether the guess was right: a decision without events, or none at all, needs the state.
            Ok(events) if job.guess == Guess::Made && events.is_empty() => self.load_first(slot, job),
            Err(Rejection::Refused { .. } | Rejection::Panicked(_)) if job.guess == Guess::Made => {
                self.load_first(slot, job);
            }
            Ok(events) => self.accept(slot, job, basis, &context, events),
            Err(Rejection::Refused { code, title, detail }) => {
                let refusal = Refusal { code, title, detail };
                if job.is_keyed() {
                    let decision = Decision::Refused(refusal.encode());
                    let then = Then::Answer(refusal.into_outcome(false));
                    self.append(slot, job, basis, &context, decision, then);
                } else {
                    self.settle(slot, job, basis, refusal.into_outcome(false));
                }
            }
            // These say nothing of the state, so that it does not matter whether it becomes durable.
            Err(Rejection::UnknownCommand { known }) => job.answer(CommandOutcome::UnknownCommand { known }),
            Err(Rejection::Invalid(errors)) => job.answer(CommandOutcome::Invalid { errors }),
            Err(Rejection::Panicked(message)) => {
                error!(
                    stream.id = %job.stream, command.name = %job.request.command, panic = %message,
                    trace_id = %format_args!("{:032x}", job.trace().trace_id), "the domain panicked in a decision"
                );
                stream.state = State::Absent;
                self.settle(slot, job, basis, CommandOutcome::Internal);
            }
        }
    }

    fn load_first(&mut self, slot: usize, mut job: Box<Job>) {
        // What the load finds is learnt, and then nothing is guessed any more.
        job.guess = Guess::Open;
        self.streams[slot].waiting.push_front(job);
        self.load(slot);
    }

    fn accept(&mut self, slot: usize, job: Box<Job>, basis: Basis, context: &Context, events: Vec<NewEvent>) {
        let stream = &mut self.streams[slot];
        if let Some(detail) = self.core.config.excess_of(&events) {
            // The state has evolved by events that will never be.
            stream.state = State::Absent;
            return self.settle(slot, job, basis, CommandOutcome::TooLarge { detail });
        }
        let types: Vec<EventType> = events.iter().map(|event| event.event_type.clone()).collect();
        stream.version = StreamVersion::new(StreamVersion::count(basis.version) + types.len() as u64);
        self.append(
            slot,
            job,
            basis,
            context,
            Decision::Accepted(events),
            Then::Accept { before: basis.version, types },
        );
    }

    /// Answers what nothing is written for, and makes sure that the state it was decided on is the log's.
    ///
    /// Where that is not certain, an append without content compares the version. A command with a key has its key looked
    /// up first, after that comparison: a retry after success must never meet its own precondition.
    fn settle(&mut self, slot: usize, job: Box<Job>, basis: Basis, outcome: CommandOutcome) {
        match (basis.certain, job.is_keyed()) {
            (true, false) => job.answer(outcome),
            (true, true) => self.look_up(job, outcome),
            (false, keyed) => {
                let then = if keyed { Then::LookUp(outcome) } else { Then::Answer(outcome) };
                let context = job.context();
                self.append(slot, job, basis, &context, Decision::Accepted(Vec::new()), then);
            }
        }
    }

    fn append(&mut self, slot: usize, job: Box<Job>, basis: Basis, context: &Context, decision: Decision, then: Then) {
        let stream = &mut self.streams[slot];
        stream.under_way += 1;
        stream.batch = self.batch;
        if let Decision::Accepted(events) = &decision {
            let bytes = events.iter().map(|event| event.payload.len()).sum::<usize>();
            self.batch_events += events.len();
            self.batch_bytes += bytes;
            self.streams.grow(slot, bytes);
        }
        let snapshot = self.snapshot_if_due(slot);
        let idempotency = if matches!(then, Then::LookUp(_)) { None } else { job.request.idempotency };
        self.appends.push(Append {
            stream: job.stream.clone(),
            expected: ExpectedVersion::of(basis.version),
            command_id: job.command_id,
            decision,
            metadata: job.metadata(context),
            idempotency,
        });
        self.pending.push(Pending { slot, job, then, snapshot });
        let config = &self.core.config;
        if self.pending.len() >= config.batch_commands_max
            || self.batch_events > config.batch_events_max
            || self.batch_bytes > config.batch_bytes_max
        {
            self.submit();
        }
    }

    /// The present state, to be kept once the append that is being made is durable.
    pub(crate) fn snapshot_if_due(&mut self, slot: usize) -> Option<Snapshot> {
        self.streams.weigh(slot);
        let stream = &mut self.streams[slot];
        let version = stream.version?;
        if self.snapshot_under_way
            || version.get().saturating_sub(stream.snapshot_events) < self.core.config.snapshot_every_events
        {
            return None;
        }
        let State::Known(instance) = &stream.state else {
            return None;
        };
        stream.snapshot_events = version.get();
        self.snapshot_under_way = true;
        let state = instance.snapshot().into();
        Some(Snapshot { stream: stream.id.clone(), version, state_shape: stream.kind.state_shape, state })
    }
}
