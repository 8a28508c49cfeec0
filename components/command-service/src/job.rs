//! One command on its way through the service.

use std::{sync::Arc, time::Duration};

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
}
