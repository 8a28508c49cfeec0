//! Event Handler: every projection of the application.

use std::sync::Arc;

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
    let measured = Metrics::default();
    measured.register(metrics);
    let config = Config {
        batch_events_max: settings.batch_events_max,
        row_cache_bytes_max: settings.cached_bytes_max,
        ..Config::default()
    };
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
