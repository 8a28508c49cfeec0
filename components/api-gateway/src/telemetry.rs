//! Names, help and labels of this box's metrics, and the names of its spans.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Method, StatusCode};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::route::Route;

/// The target of the spans that show the twelve hops of a request.
pub(crate) const HOP: &str = "diptych::hop";
/// `diptych.box` of this box's spans.
pub(crate) const BOX: &str = "api-gateway";

const ROUTES: [&str; 5] = [
    "/commands/{aggregate}/{id}/{command}",
    "/queries/{read_model}/{key}",
    "/queries/{read_model}",
    "/errors/{code}",
    "unmatched",
];
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "other"];
const STATUS_FIRST: usize = 200;
const STATUS_COUNT: usize = 400;
const PLACES: usize = ROUTES.len() * METHODS.len() * STATUS_COUNT;

/// Label set of a request: `route`, `method`, `status`.
type Labels = [(&'static str, String); 3];

/// The metrics of all gateways of a process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    limited: Counter,
    /// What was looked up once is found without a lock from then on.
    resolved: Arc<[OnceLock<Histogram>]>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers them in `registry`, once a process.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let durations: Family<Labels, Histogram, fn() -> Histogram> = Family::new_with_constructor(histogram);
        registry.register_with_unit(
            "diptych_api_gateway_request_duration",
            "From a request's head to the head of its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let limited = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register("diptych_api_gateway_limited", "Requests refused because of a limit", limited.clone());
        let limited = limited.get_or_create(&[("policy", "concurrency")]).clone();
        let resolved = (0..PLACES).map(|_| OnceLock::new()).collect();
        Self { durations, limited, resolved }
    }

    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    pub(crate) fn answered(&self, route: Route<'_>, method: &Method, status: StatusCode, duration: Duration) {
        let route = route_place(route);
        let method = method_place(method);
        let status = usize::from(status.as_u16()).saturating_sub(STATUS_FIRST).min(STATUS_COUNT - 1);
        let place = (route * METHODS.len() + method) * STATUS_COUNT + status;
        let labels = || {
            [
                ("route", ROUTES[route].to_owned()),
                ("method", METHODS[method].to_owned()),
                ("status", (status + STATUS_FIRST).to_string()),
            ]
        };
        let histogram = self.resolved[place].get_or_init(|| self.durations.get_or_create(&labels()).clone());
        histogram.observe(duration.as_secs_f64());
    }
}

fn histogram() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    ])
}

fn route_place(route: Route<'_>) -> usize {
    match route {
        Route::Command { .. } => 0,
        Route::Point { .. } => 1,
        Route::List { .. } => 2,
        Route::ErrorPage { .. } => 3,
        Route::Nothing => 4,
    }
}

fn method_place(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        _ => 3,
    }
}
