//! Message Queue, in process.

use std::sync::Arc;

use message_queue::{InProcessConfig, InProcessQueue, Metrics};
use prometheus_client::registry::Registry;
use runtime::Runtime;

use crate::settings::MessageQueueSettings;

pub(crate) fn start(settings: &MessageQueueSettings, runtime: &Runtime, metrics: &mut Registry) -> Arc<InProcessQueue> {
    let config = InProcessConfig {
        messages_max: settings.messages_max,
        bytes_max: settings.bytes_max,
        ..InProcessConfig::default()
    };
    let measured = Metrics::default();
    measured.register(metrics);
    Arc::new(InProcessQueue::new(runtime.clone(), config, measured))
}
