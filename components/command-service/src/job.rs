//! One command on its way through the service.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI8, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use model::{AggregateType, CommandId, Context, Hash, Metadata, StreamId, TraceContext};
use runtime::Runtime;
use tokio::sync::oneshot;

use crate::{CommandOutcome, CommandRequest, Precondition, gate::Permit, telemetry::CommandMetrics};

/// One aggregate of the registry, with what its commands need of it at hand.
pub(crate) struct Kind {
    pub(crate) aggregate: Arc<dyn AggregateType>,
    pub(crate) name: Arc<str>,
    pub(crate) state_shape: Hash,
    /// In the order of the aggregate's commands.
    pub(crate) metrics: Vec<CommandMetrics>,
    /// Likewise.
    pub(crate) beginnings: Vec<Beginnings>,
}

/// Whether a command is decided as on a new stream although nobody said that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    /// It may be.
    Open,
    /// It is. The append expects no stream, and finds out.
    Made,
    /// It is known by now, or was found wrong.
    Over,
}

/// Whether a command that comes to a stream not in memory mostly finds that there is no such stream yet.
///
/// A stream that most likely does not exist need not be looked for first: the append says so if it does. Remembers the last
/// few times, and is right at once about commands that always begin streams, or never do.
#[derive(Default)]
pub(crate) struct Beginnings(AtomicI8);

/// How many times in a row outweigh all that went before.
const REMEMBERED: i8 = 8;

impl Beginnings {
    pub(crate) fn is_likely(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 0
    }

    pub(crate) fn learn(&self, began: bool) {
        let known = self.0.load(Ordering::Relaxed);
        // Two at once may count as one: it is a guess.
        self.0.store(if began { known + 1 } else { known - 1 }.clamp(-REMEMBERED, REMEMBERED), Ordering::Relaxed);
    }
}

pub(crate) struct Job {
    pub(crate) request: CommandRequest,
    pub(crate) kind: Arc<Kind>,
    /// Index of the command among those of its aggregate.
    pub(crate) command: usize,
    pub(crate) stream: StreamId,
    pub(crate) command_id: CommandId,
    pub(crate) time: Timestamp,
    /// Place among the arrivals at its shard: a stream's commands are decided in this order, also again.
    pub(crate) order: u64,
    /// How often it was decided in vain.
    pub(crate) tries: u32,
    pub(crate) guess: Guess,
    pub(crate) reply: Reply,
}

/// The way back to whoever asked. He may be gone; the command is not ended by that.
pub(crate) struct Reply {
    pub(crate) runtime: Runtime,
    pub(crate) arrived: Duration,
    pub(crate) sender: oneshot::Sender<CommandOutcome>,
    pub(crate) permit: Permit,
}

impl Job {
    pub(crate) fn answer(self, outcome: CommandOutcome) {
        let took = self.reply.runtime.now().saturating_sub(self.reply.arrived);
        self.kind.metrics[self.command].answered(&outcome, took);
        // Nobody may be waiting any more.
        let _ = self.reply.sender.send(outcome);
        drop(self.reply.permit);
    }

    pub(crate) fn context(&self) -> Context {
        let request = &self.request;
        Context::new(self.time, request.principal.clone(), request.tenant.clone(), self.command_id)
    }

    pub(crate) fn metadata(&self, context: &Context) -> Metadata {
        Metadata {
            principal: self.request.principal.clone(),
            time: context.time(),
            correlation: self.request.correlation.unwrap_or(self.command_id.0),
            causation: self.request.causation.unwrap_or(self.command_id.0),
            trace: self.trace(),
            tracestate: self.request.tracestate.clone(),
        }
    }

    /// The trace of the request; one that came without begins with the command.
    pub(crate) fn trace(&self) -> TraceContext {
        match self.request.trace {
            TraceContext { trace_id: 0, .. } => {
                TraceContext { trace_id: self.command_id.0.as_u128(), ..self.request.trace }
            }
            trace => trace,
        }
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.request.idempotency.is_some()
    }

    pub(crate) fn wants_no_stream(&self) -> bool {
        self.request.precondition == Precondition::Absent
    }

    /// Whether it goes as on a new stream, because it says so or for a guess.
    pub(crate) fn takes_stream_for_new(&self) -> bool {
        self.wants_no_stream() || self.guess == Guess::Made
    }

    /// Guesses that the stream is new, where that is likely and was not found wrong before.
    pub(crate) fn guess(&mut self) {
        let may = self.guess == Guess::Open && self.request.precondition == Precondition::None;
        if may && self.kind.beginnings[self.command].is_likely() {
            self.guess = Guess::Made;
        }
    }

    /// Remembers whether the stream that it came to first was a new one.
    pub(crate) fn learn(&mut self, is_new: bool) {
        if self.guess != Guess::Over && self.tries == 0 && self.request.precondition == Precondition::None {
            self.kind.beginnings[self.command].learn(is_new);
        }
        self.guess = Guess::Over;
    }
}

#[cfg(test)]
mod tests {
    use super::Beginnings;

    #[test]
    fn a_guess_follows_what_was_seen_lately() {
        let beginnings = Beginnings::default();
        assert!(beginnings.is_likely(), "the first look can be spared");
        beginnings.learn(false);
        assert!(!beginnings.is_likely());
        (0..100).for_each(|_| beginnings.learn(false));
        (0..8).for_each(|_| beginnings.learn(true));
        assert!(beginnings.is_likely(), "however long it was otherwise");
    }
}
