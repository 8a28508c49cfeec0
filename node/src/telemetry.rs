//! What every process says of itself.

use prometheus_client::{metrics::info::Info, registry::Registry};

/// Registers `diptych_build_info`.
pub(crate) fn register(application: &str, registry: &mut Registry) {
    let info =
        Info::new(vec![("application", application.to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())]);
    registry.register("diptych_build", "The application and the version of Diptych", info);
}
