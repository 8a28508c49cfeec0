//! Load Balancer: the listener that faces the users, and the way from it to the gateways.

use api_gateway::ApiGateway;
use load_balancer::{Config, Gateways, Instance, Limits, Listener, LoadBalancer, Metrics};
use runtime::Runtime;

use crate::{Error, error::Listener as Of, settings::LoadBalancerSettings};

pub(crate) struct Front {
    pub(crate) listener: Listener,
    pub(crate) load_balancer: LoadBalancer,
    pub(crate) instances: Vec<Instance>,
}

/// Opens the listener. Nothing is accepted before [`load_balancer::serve`], and no instance is ready yet.
pub(crate) fn bind(settings: &LoadBalancerSettings) -> Result<Listener, Error> {
    let limits = Limits {
        connections_max: settings.connections_max,
        connections_per_peer_max: settings.connections_per_address_max,
        body_bytes_max: settings.body_bytes_max,
        ..Limits::default()
    };
    let address = settings.listen;
    Listener::bind(address, limits).map_err(|error| Error::Listen {
        listener: Of::Public,
        address,
        // The system's own word: what there is to do is said already.
        source: match error {
            load_balancer::Error::AddressInUse { source, .. } | load_balancer::Error::Listen { source, .. } => {
                source.into()
            }
            other => other.into(),
        },
    })
}

pub(crate) fn start(
    listener: Listener,
    gateways: Vec<ApiGateway>,
    runtime: &Runtime,
    metrics: &mut prometheus_client::registry::Registry,
) -> Result<Front, Error> {
    let measured = self::metrics(metrics);
    let instances: Vec<Instance> = gateways
        .into_iter()
        .enumerate()
        .map(|(index, gateway)| Instance::new(format!("api-gateway-{}", index + 1), gateway))
        .collect();
    let load_balancer = over(Gateways::here(instances.clone()), runtime, measured)?;
    Ok(Front { listener, load_balancer, instances })
}

pub(crate) fn metrics(registry: &mut prometheus_client::registry::Registry) -> Metrics {
    let measured = Metrics::new();
    measured.register(registry);
    measured
}

pub(crate) fn over(gateways: Gateways, runtime: &Runtime, measured: Metrics) -> Result<LoadBalancer, Error> {
    Ok(LoadBalancer::new(gateways, runtime.clone(), measured, Config::default())?)
}
