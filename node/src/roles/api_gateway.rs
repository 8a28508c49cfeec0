//! API Gateway: as many instances as are wanted, each with limits of its own.

use std::sync::Arc;

use api_gateway::{ApiGateway, Config, Metrics};
use command_service::CommandService;
use query_service::QueryService;
use runtime::Runtime;

use crate::settings::Settings;

/// As many instances as are set.
pub(crate) fn start(
    commands: Arc<dyn CommandService>,
    queries: Arc<dyn QueryService>,
    settings: &Settings,
    runtime: &Runtime,
    metrics: &mut prometheus_client::registry::Registry,
) -> Vec<ApiGateway> {
    let (config, measured) = (config(settings), Metrics::new(metrics));
    let instance =
        |_| ApiGateway::new(runtime.clone(), commands.clone(), queries.clone(), config.clone(), measured.clone());
    (0..settings.api_gateway.instances.max(1)).map(instance).collect()
}

/// The one of a process.
pub(crate) fn one(
    commands: Arc<dyn CommandService>,
    queries: Arc<dyn QueryService>,
    settings: &Settings,
    runtime: &Runtime,
    metrics: &mut prometheus_client::registry::Registry,
) -> ApiGateway {
    ApiGateway::new(runtime.clone(), commands, queries, config(settings), Metrics::new(metrics))
}

fn config(settings: &Settings) -> Config {
    let defaults = Config::default();
    Config {
        body_bytes_max: usize::try_from(settings.load_balancer.body_bytes_max).unwrap_or(defaults.body_bytes_max),
        requests_max: settings.api_gateway.requests_max,
        error_pages_url: settings.api_gateway.error_pages_url.clone().unwrap_or(defaults.error_pages_url.clone()),
        ..defaults
    }
}
