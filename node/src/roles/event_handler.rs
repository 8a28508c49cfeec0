//! Event Handler: every projection of the application.

use std::{sync::Arc, time::Duration};

use command_database::EventStore;
use event_handler::{Config, EventHandler, Handle, Metrics, Parts};
use message_queue::MessageQueue;
use model::Registry;
use query_database::RowWriter;
use runtime::{Runtime, Shutdown};

use crate::settings::EventHandlerSettings;

#[allow(clippy::too_many_arguments, reason = "the three boxes it stands between, and what every box gets")]
pub(crate) fn start(
    registry: &Registry,
    store: Arc<dyn EventStore>,
    queue: Arc<dyn MessageQueue>,
    rows: Arc<dyn RowWriter>,
    settings: &EventHandlerSettings,
    runtime: &Runtime,
    metrics: &mut prometheus_client::registry::Registry,
    shutdown: &Shutdown,
) -> Handle {
    over(registry, store, queue, rows, config(settings), runtime, self::metrics(metrics), shutdown)
}

/// One of several processes that may have one.
pub(crate) fn config_beside_others(settings: &EventHandlerSettings) -> Config {
    Config { standstill: Some(STANDSTILL), ..config(settings) }
}

/// How long a read model stands still, while the log has more, before another process takes it over.
const STANDSTILL: Duration = Duration::from_secs(3);

fn config(settings: &EventHandlerSettings) -> Config {
    Config {
        batch_events_max: settings.batch_events_max,
        row_cache_bytes_max: settings.cached_bytes_max,
        ..Config::default()
    }
}

pub(crate) fn metrics(registry: &mut prometheus_client::registry::Registry) -> Metrics {
    let measured = Metrics::default();
    measured.register(registry);
    measured
}

#[allow(clippy::too_many_arguments, reason = "the three boxes it stands between, and what every box gets")]
pub(crate) fn over(
    registry: &Registry,
    store: Arc<dyn EventStore>,
    queue: Arc<dyn MessageQueue>,
    rows: Arc<dyn RowWriter>,
    config: Config,
    runtime: &Runtime,
    measured: Metrics,
    shutdown: &Shutdown,
) -> Handle {
    EventHandler::start(Parts {
        runtime: runtime.clone(),
        registry: registry.clone(),
        store,
        queue,
        rows,
        config,
        metrics: measured,
        shutdown: shutdown.clone(),
    })
}
