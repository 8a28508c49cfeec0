//! Command Service: the executor that decides and appends, and the relay that feeds the queue.

use std::{sync::Arc, thread::available_parallelism};

use command_service::{Config, Executor, Metrics, Relay, RelayConfig};
use message_queue::MessageQueue;
use model::Registry;
use runtime::Runtime;

use super::command_database::Log;
use crate::settings::CommandServiceSettings;

/// More shards than this gain nothing: they all end in one log.
const SHARDS_MAX: usize = 4;

pub(crate) struct Service {
    pub(crate) executor: Arc<Executor>,
    pub(crate) relay: Relay,
}

pub(crate) fn start(
    log: &Log,
    queue: Arc<dyn MessageQueue>,
    registry: &Registry,
    settings: &CommandServiceSettings,
    runtime: &Runtime,
    metrics: &mut prometheus_client::registry::Registry,
) -> Service {
    let measured = self::metrics(metrics);
    // The directory's lock says that no other process relays this log: no lease of a former life is waited for.
    let only = RelayConfig { holder: Some(uuid::Uuid::nil()), ..RelayConfig::default() };
    over(log, queue, registry, config(settings), only, runtime, &measured)
}

/// One of several that append to the log and would relay it.
pub(crate) fn beside_others(
    log: &Log,
    queue: Arc<dyn MessageQueue>,
    registry: &Registry,
    settings: &CommandServiceSettings,
    runtime: &Runtime,
    measured: &Metrics,
) -> Service {
    let config = Config { sole_writer: false, ..config(settings) };
    over(log, queue, registry, config, RelayConfig::default(), runtime, measured)
}

pub(crate) fn metrics(registry: &mut prometheus_client::registry::Registry) -> Metrics {
    let measured = Metrics::new();
    measured.register(registry);
    measured
}

fn config(settings: &CommandServiceSettings) -> Config {
    let cores = available_parallelism().map_or(1, usize::from);
    Config {
        shards: if settings.shards == 0 { cores.min(SHARDS_MAX) } else { settings.shards },
        cache_bytes_max: settings.cache_bytes_max,
        snapshot_every_events: settings.snapshot_events,
        commands_under_way_max: settings.commands_max,
        ..Config::default()
    }
}

fn over(
    log: &Log,
    queue: Arc<dyn MessageQueue>,
    registry: &Registry,
    config: Config,
    relay: RelayConfig,
    runtime: &Runtime,
    measured: &Metrics,
) -> Service {
    let executor = Executor::start(runtime.clone(), registry, log.store.clone(), log.group.clone(), config, measured);
    let relay = Relay::start(runtime, log.store.clone(), queue, log.group.head_changed(), relay, measured);
    Service { executor: Arc::new(executor), relay }
}
