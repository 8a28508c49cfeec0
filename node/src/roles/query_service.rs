//! Query Service: answers from the Query Database alone.

use std::sync::Arc;

use model::Registry;
use query_database::RowReader;
use query_service::{Limits, Metrics, Queries};
use runtime::Runtime;

use crate::settings::QueryServiceSettings;

pub(crate) fn start(
    registry: &Registry,
    rows: Arc<dyn RowReader>,
    page_token_key: [u8; 32],
    settings: &QueryServiceSettings,
    runtime: &Runtime,
    metrics: &mut prometheus_client::registry::Registry,
) -> Arc<Queries> {
    over(registry, rows, page_token_key, settings, runtime, &self::metrics(metrics))
}

pub(crate) fn metrics(registry: &mut prometheus_client::registry::Registry) -> Metrics {
    Metrics::new(registry)
}

pub(crate) fn over(
    registry: &Registry,
    rows: Arc<dyn RowReader>,
    page_token_key: [u8; 32],
    settings: &QueryServiceSettings,
    runtime: &Runtime,
    measured: &Metrics,
) -> Arc<Queries> {
    let known = registry.projections().map(|projection| projection.read_model().name.clone()).collect();
    let limits = Limits { page_rows_max: settings.page_size_max, ..Limits::default() };
    Arc::new(Queries::new(runtime.clone(), rows, known, &page_token_key, limits, measured))
}
