//! The front door of the command path: looks at a request, and hands it to the shard that its stream belongs to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use command_database::{EventStore, GroupCommit};
use futures_util::future::BoxFuture;
use model::{CommandId, Registry, StreamId};
use runtime::Runtime;
use tokio::sync::oneshot;

use crate::{
    CommandOutcome, CommandRequest, CommandService, Config, Metrics, UnavailableReason,
    gate::Gate,
    job::{Beginnings, Guess, Job, Kind, Reply},
    mailbox::{NotTaken, Sender, mailbox},
    shard::{Core, Shard},
};

/// What a client that was turned away is told to wait.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The Command Service in memory. Cheap to clone; its shards end when the last clone is dropped.
#[derive(Clone)]
pub struct Executor {
    runtime: Runtime,
    kinds: Arc<BTreeMap<&'static str, Arc<Kind>>>,
    shards: Arc<[Sender]>,
    gate: Arc<Gate>,
}

impl Executor {
    /// Starts the shards. `group` must append to `store`.
    #[must_use]
    pub fn start(
        runtime: Runtime,
        registry: &Registry,
        store: Arc<dyn EventStore>,
        group: GroupCommit,
        config: Config,
        metrics: &Metrics,
    ) -> Self {
        let gate = Gate::new(config.commands_under_way_max);
        let kinds = Arc::new(kinds(registry, metrics));
        let core = Arc::new(Core { store, group, config, metrics: metrics.clone() });
        let shards = (0..core.config.shards.max(1)).map(|_| {
            // As many as may be under way at all: the gate is what refuses.
            let (sender, mailbox) = mailbox(core.config.commands_under_way_max.max(1));
            runtime.spawn("command-service shard", Shard::run(Arc::clone(&core), mailbox));
            sender
        });
        let shards = shards.collect();
        Self { runtime, kinds, shards, gate }
    }

    /// Refuses further commands, and returns once those under way are answered.
    pub async fn drain(&self) {
        self.gate.drain().await;
    }

    /// How many commands are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.gate.under_way()
    }

    fn admit(&self, request: CommandRequest, sender: oneshot::Sender<CommandOutcome>) {
        let arrived = self.runtime.now();
        let refuse = |sender: oneshot::Sender<_>, outcome| drop(sender.send(outcome));
        let Some(kind) = self.kinds.get(request.aggregate.as_str()) else {
            let known = self.kinds.keys().map(|name| (*name).to_owned()).collect();
            return refuse(sender, CommandOutcome::UnknownAggregate { known });
        };
        let commands = kind.aggregate.commands();
        let Some(command) = commands.iter().position(|name| *name == request.command) else {
            return refuse(sender, CommandOutcome::UnknownCommand { known: commands.to_vec() });
        };
        let refuse = |sender, outcome| {
            kind.metrics[command].answered(&outcome, self.runtime.now().saturating_sub(arrived));
            refuse(sender, outcome);
        };
        if let Some(detail) = fault_of_id(&request.id) {
            return refuse(sender, CommandOutcome::InvalidId { detail });
        }
        let permit = match self.gate.enter() {
            Ok(permit) => permit,
            Err(reason) => {
                return refuse(sender, CommandOutcome::Unavailable { reason, retry_after: RETRY_AFTER });
            }
        };
        let stream = StreamId {
            tenant: request.tenant.clone(),
            aggregate: Arc::clone(&kind.name),
            id: request.id.as_str().into(),
        };
        let shard = &self.shards[shard_of(&stream, self.shards.len())];
        let job = Box::new(Job {
            kind: Arc::clone(kind),
            command,
            stream,
            command_id: CommandId(self.runtime.uuid()),
            time: self.runtime.wall_clock(),
            order: 0,
            tries: 0,
            guess: Guess::Open,
            request,
            reply: Reply { runtime: self.runtime.clone(), arrived, sender, permit },
        });
        if let Err(refused) = shard.send(job) {
            let (job, reason) = match refused {
                NotTaken::Full(job) => (job, UnavailableReason::Overloaded),
                NotTaken::Abandoned(job) => (job, UnavailableReason::Draining),
            };
            job.answer(CommandOutcome::Unavailable { reason, retry_after: RETRY_AFTER });
        }
    }
}

impl CommandService for Executor {
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        let (sender, answer) = oneshot::channel();
        // Here and not in the future: once called, the command runs, whatever becomes of the future.
        self.admit(request, sender);
        // A shard that ends without an answer has crashed: what became of the command is in the log.
        Box::pin(async move { answer.await.unwrap_or(CommandOutcome::Unknown) })
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Executor").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}

fn kinds(registry: &Registry, metrics: &Metrics) -> BTreeMap<&'static str, Arc<Kind>> {
    let kind = |aggregate: &Arc<dyn model::AggregateType>| {
        let name = aggregate.name();
        let commands = aggregate.commands();
        let kind = Kind {
            aggregate: Arc::clone(aggregate),
            name: name.into(),
            state_shape: aggregate.state_shape(),
            metrics: commands.iter().map(|command| metrics.of_command(name, command)).collect(),
            beginnings: commands.iter().map(|_| Beginnings::default()).collect(),
        };
        (name, Arc::new(kind))
    };
    registry.aggregates().map(kind).collect()
}

fn fault_of_id(id: &str) -> Option<String> {
    if id.is_empty() {
        return Some("it is empty: an id has at least one byte".to_owned());
    }
    // As a row's key would have it: a read model keyed by the aggregate's id could not hold a longer one, and would wait.
    let encoded: usize = id.bytes().map(|byte| if is_unreserved(byte) { 1 } else { 3 }).sum();
    if encoded > StreamId::ID_BYTES_MAX {
        return Some(format!("it has {encoded} bytes when percent-encoded, the limit is {}", StreamId::ID_BYTES_MAX));
    }
    id.chars().any(char::is_control).then(|| "it contains a control character".to_owned())
}

/// Whether percent-encoding leaves `byte` as it is (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// FNV-1a: the same stream always goes to the same shard, in every process and every run.
fn shard_of(stream: &StreamId, shards: usize) -> usize {
    let parts = [stream.tenant.as_str(), &stream.aggregate, &stream.id];
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The high bits are the better mixed ones.
    usize::try_from(hash >> 32).unwrap_or(0) % shards
}
