//! Message Queue: in process, or on NATS.

use std::{path::PathBuf, sync::Arc};

use message_queue::{InProcessConfig, InProcessQueue, JetStreamConfig, JetStreamQueue, MessageQueue, Metrics, Tls};
use prometheus_client::registry::Registry;
use runtime::Runtime;

use crate::settings::MessageQueueSettings;

pub(crate) fn start(settings: &MessageQueueSettings, runtime: &Runtime, metrics: &mut Registry) -> Arc<InProcessQueue> {
    let config = InProcessConfig {
        messages_max: settings.messages_max,
        bytes_max: settings.bytes_max,
        ..InProcessConfig::default()
    };
    Arc::new(InProcessQueue::new(runtime.clone(), config, self::metrics(metrics)))
}

pub(crate) fn metrics(registry: &mut Registry) -> Metrics {
    let measured = Metrics::default();
    measured.register(registry);
    measured
}

/// Files are read with each connection, so that new ones hold for the next.
fn tls(settings: &MessageQueueSettings) -> Tls {
    let path = |path: &String| Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
    let authorities = path(&settings.ca_path);
    let identity = path(&settings.certificate_path).zip(path(&settings.key_path));
    Tls { required: authorities.is_some(), authorities, identity }
}

/// The queue on NATS JetStream.
pub(crate) async fn connect(
    application: &str,
    settings: &MessageQueueSettings,
    runtime: &Runtime,
    measured: &Metrics,
) -> Result<Arc<dyn MessageQueue>, message_queue::Error> {
    let servers = settings.servers.split(',').map(str::trim).filter(|server| !server.is_empty());
    let config = JetStreamConfig {
        servers: servers.map(str::to_owned).collect(),
        application: application.to_owned(),
        event_type_prefix: settings.event_type_prefix.clone(),
        stream: format!("{application}-events"),
        replicas: settings.replicas,
        tls: tls(settings),
        ..JetStreamConfig::default()
    };
    Ok(Arc::new(JetStreamQueue::connect(runtime.clone(), config, measured.clone()).await?))
}
