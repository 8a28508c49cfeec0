//! Load Balancer: the listener that faces the users, and the way from it to the gateways.

use api_gateway::ApiGateway;
use load_balancer::{Config, Gateways, Instance, Limits, Listener, LoadBalancer, Metrics, Networks, Protection};
use runtime::{Runtime, Shutdown};
use wire::ServerTls;

use crate::{Error, Settings, error::Listener as Of, settings::LoadBalancerSettings, tls};

pub(crate) struct Front {
    pub(crate) listener: Listener,
    pub(crate) load_balancer: LoadBalancer,
    pub(crate) instances: Vec<Instance>,
}

/// Refuses to be reached by others without TLS, or without what is said instead of authentication.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    let front = &settings.load_balancer;
    let is_protected = tls::public(settings)?.is_some() || !proxies(front)?.is_empty();
    if is_protected && settings.insecure_no_authentication {
        return Ok(());
    }
    Of::Public.check(front.listen)
}

fn proxies(settings: &LoadBalancerSettings) -> Result<Networks, Error> {
    let named = settings.behind_tls_proxy.parse::<Networks>();
    named.map_err(|error| Error::Settings(format!("load_balancer.behind_tls_proxy: {error}")))
}

/// Opens the listener. Nothing is accepted before [`load_balancer::serve`], and no instance is ready yet.
pub(crate) fn bind(settings: &Settings, runtime: &Runtime) -> Result<Listener, Error> {
    check(settings)?;
    let identity = tls::public(settings)?;
    if let Some(identity) = &identity {
        identity.follow(runtime, Shutdown::new());
    }
    let settings = &settings.load_balancer;
    let protection = Protection { tls: identity.as_ref().map(ServerTls::public), proxies: proxies(settings)? };
    let limits = Limits {
        connections_max: settings.connections_max,
        connections_per_peer_max: settings.connections_per_address_max,
        body_bytes_max: settings.body_bytes_max,
        ..Limits::default()
    };
    let address = settings.listen;
    Listener::bind_protected(address, limits, protection).map_err(|error| Error::Listen {
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
    settings: &Settings,
    runtime: &Runtime,
    metrics: &mut prometheus_client::registry::Registry,
) -> Result<Front, Error> {
    let measured = self::metrics(metrics);
    let instances: Vec<Instance> = gateways
        .into_iter()
        .enumerate()
        .map(|(index, gateway)| Instance::new(format!("api-gateway-{}", index + 1), gateway))
        .collect();
    let load_balancer = over(Gateways::here(instances.clone()), settings, runtime, measured)?;
    Ok(Front { listener, load_balancer, instances })
}

pub(crate) fn metrics(registry: &mut prometheus_client::registry::Registry) -> Metrics {
    let measured = Metrics::new();
    measured.register(registry);
    measured
}

pub(crate) fn over(
    gateways: Gateways,
    settings: &Settings,
    runtime: &Runtime,
    measured: Metrics,
) -> Result<LoadBalancer, Error> {
    let config = Config { trusted_peers: proxies(&settings.load_balancer)?, ..Config::default() };
    Ok(LoadBalancer::new(gateways, runtime.clone(), measured, config)?)
}
