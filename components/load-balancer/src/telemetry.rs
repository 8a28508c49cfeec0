//! The metrics of the load balancer: names, units, help.

use std::sync::{Arc, OnceLock};

use http::{Method, StatusCode};
use parking_lot::RwLock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use wire::Standing;

use crate::Gateways;

/// Upper bounds in seconds: from a row out of memory to a command that waits for a sick disk.
const DURATION_SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Backend {
    backend: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Limited {
    policy: &'static str,
}

/// The load balancer's metrics. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    durations: Family<Answered, Histogram>,
    // One place for each method and status, filled on first use, so that a request neither hashes labels nor takes the
    // family's lock.
    resolved: Box<[OnceLock<Histogram>]>,
    /// Looked at when they are asked for.
    gateways: RwLock<Option<Gateways>>,
    retries: Counter,
    limited: [Counter; Policy::ALL.len()],
    limited_family: Family<Limited, Counter>,
}

const STATUSES: usize = 500;

impl Metrics {
    /// Metrics that nothing shows yet.
    #[must_use]
    pub fn new() -> Self {
        let limited_family = Family::<Limited, Counter>::default();
        Self {
            inner: Arc::new(Inner {
                durations: Family::new_with_constructor(|| Histogram::new(DURATION_SECONDS)),
                resolved: (0..STATUSES * MethodLabel::COUNT).map(|_| OnceLock::new()).collect(),
                gateways: RwLock::default(),
                retries: Counter::default(),
                limited: Policy::ALL
                    .map(|policy| limited_family.get_or_create_owned(&Limited { policy: policy.name() })),
                limited_family,
            }),
        }
    }

    /// Shows them in `registry`, under their full names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "diptych_load_balancer_request_duration",
            "Time from a request's head to the last byte of its answer",
            Unit::Seconds,
            self.inner.durations.clone(),
        );
        registry.register(
            "diptych_load_balancer_retries",
            "Requests sent once more, to another API Gateway instance",
            self.inner.retries.clone(),
        );
        registry.register_collector(Box::new(Backends(self.clone())));
        registry.register(
            "diptych_load_balancer_limited",
            "Requests, connections and retries refused or cut by a limit",
            self.inner.limited_family.clone(),
        );
    }

    /// Shows these instances from now on.
    pub(crate) fn show(&self, gateways: &Gateways) {
        *self.inner.gateways.write() = Some(gateways.clone());
    }

    pub(crate) fn retried(&self) {
        self.inner.retries.inc();
    }

    pub(crate) fn limited(&self, policy: Policy) {
        self.inner.limited[policy as usize].inc();
    }

    pub(crate) fn answered(&self, method: MethodLabel, status: StatusCode, seconds: f64) {
        // A status outside 100 to 599 is legal in the type and never sent.
        let column = usize::from(status.as_u16().saturating_sub(100)).min(STATUSES - 1);
        self.inner.resolved[method as usize * STATUSES + column]
            .get_or_init(|| {
                let labels = Answered { method: method.name(), status: status.as_u16() };
                self.inner.durations.get_or_create_owned(&labels)
            })
            .observe(seconds);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The instances as they are when somebody looks: those that are gone leave nothing behind.
#[derive(Debug)]
struct Backends(Metrics);

impl Collector for Backends {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gateways = self.0.inner.gateways.read();
        let Some(gateways) = &*gateways else { return Ok(()) };
        let name = "diptych_load_balancer_backend_up";
        each(&mut encoder, gateways, name, "Whether an API Gateway instance takes requests", Standing::is_ready)?;
        let (name, help) =
            ("diptych_load_balancer_backend_ejected", "Whether an API Gateway instance is left out for its failures");
        each(&mut encoder, gateways, name, help, Standing::is_ejected)
    }
}

/// Writes one metric, with a value for each instance.
fn each(
    encoder: &mut DescriptorEncoder<'_>,
    gateways: &Gateways,
    name: &str,
    help: &str,
    look: impl Fn(&Standing) -> bool,
) -> Result<(), std::fmt::Error> {
    let mut described = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    let mut written = Ok(());
    gateways.each(|backend, standing| {
        let label = Backend { backend: backend.to_owned() };
        let value = ConstGauge::new(i64::from(look(standing)));
        written = written.and_then(|()| value.encode(described.encode_family(&label)?));
    });
    written
}

/// A request's method as a label. Clients invent methods, so all but ours share one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodLabel {
    Get,
    Head,
    Post,
    Other,
}

impl MethodLabel {
    const COUNT: usize = 4;

    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Other => "other",
        }
    }
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Connections,
    ConnectionsPerPeer,
    HeadSize,
    HeadTime,
    BodySize,
    BodyRate,
    RequestTime,
    WriteStall,
    Retries,
    Handshake,
    Peer,
}

impl Policy {
    const ALL: [Self; 11] = [
        Self::Connections,
        Self::ConnectionsPerPeer,
        Self::HeadSize,
        Self::HeadTime,
        Self::BodySize,
        Self::BodyRate,
        Self::RequestTime,
        Self::WriteStall,
        Self::Retries,
        Self::Handshake,
        Self::Peer,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerPeer => "connections-per-peer",
            Self::HeadSize => "head-size",
            Self::HeadTime => "head-time",
            Self::BodySize => "body-size",
            Self::BodyRate => "body-rate",
            Self::RequestTime => "request-time",
            Self::WriteStall => "write-stall",
            Self::Retries => "retries",
            Self::Handshake => "handshake",
            Self::Peer => "peer",
        }
    }
}
