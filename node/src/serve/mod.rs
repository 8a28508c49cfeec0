//! Some of the boxes in one process, the others in other processes: databases and queue are servers.
//!
//! What a box needs and cannot reach yet is waited for, so that processes may be started in any order; `/readyz` and the log
//! say what is missing.

mod checks; // what is ready
mod drive; // one role: what it needs, what it runs, how it ends
mod late; // services that are not there yet
mod reach; // waiting for what cannot be reached
mod role;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use model::Registry;
use runtime::{Runtime, Shutdown, Task};
use serde_json::{Value, json};

pub use self::role::Role;
use self::{checks::Checks, drive::Drive};
use crate::{
    Error, Settings, admin, error::Listener, insecure::Switches, plain, signals, systemd, telemetry, watch::Watch,
};

/// How long a drain may take before the process ends all the same, beside the delay that is set.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Some boxes, running.
#[derive(Debug)]
pub struct Serve {
    runtime: Runtime,
    admin_address: SocketAddr,
    addresses: BTreeMap<Role, SocketAddr>,
    state: Arc<State>,
    drain_delay: Duration,
    /// In the order in which they end: nobody ends before those who ask it.
    roles: Vec<(Role, Shutdown, Task<()>)>,
    admin_shutdown: Shutdown,
}

/// What the operator asks about.
struct State {
    application: &'static str,
    runtime: Runtime,
    roles: Vec<Role>,
    checks: Checks,
    watch: Arc<Watch>,
    draining: AtomicBool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("State").field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl Serve {
    /// Opens the listeners of `roles` and starts what stands behind them. Returns once the listeners are there; `/readyz`
    /// tells when everything is.
    ///
    /// # Errors
    /// Settings that do not fit, and addresses that cannot be had.
    pub async fn start(
        application: &'static str,
        registry: Arc<Registry>,
        settings: &Settings,
        roles: &[Role],
    ) -> Result<Self, Error> {
        Listener::Admin.check(settings.admin.listen)?;
        plain::check(settings)?;
        let roles = Role::in_order(roles);
        let admin_listener = admin::bind(settings.admin.listen).await?;
        let runtime = Runtime::tokio();
        let mut metrics = prometheus_client::registry::Registry::default();
        telemetry::register(application, settings, &mut metrics);
        Switches::of(settings).warn();
        let checks = Checks::default();
        let drive = Drive::new(application, registry, settings, &roles, runtime.clone(), checks.clone())?;
        let watch = drive.watch.clone();
        telemetry::register_watch(watch.clone(), &mut metrics);
        let mut running = Vec::new();
        let mut addresses = BTreeMap::new();
        for started in drive.start(&mut metrics)? {
            addresses.extend(started.address.map(|address| (started.role, address)));
            let task = runtime.spawn(started.role.name(), started.run);
            running.push((started.role, started.shutdown, task));
        }
        let admin_shutdown = Shutdown::new();
        for database in &drive.clocks {
            runtime.spawn("clock of a database", database.clone().watch(runtime.clone(), admin_shutdown.clone()));
        }
        telemetry::register_peers(drive.peers.into_inner(), drive.clocks, &mut metrics);
        let admin_address = admin_listener.local_addr().map_err(|source| Error::Listen {
            listener: Listener::Admin,
            address: settings.admin.listen,
            source: source.into(),
        })?;
        let draining = AtomicBool::new(false);
        let state = Arc::new(State { application, runtime: runtime.clone(), roles, checks, watch, draining });
        let api_address = addresses.get(&Role::LoadBalancer).copied().unwrap_or(settings.load_balancer.listen);
        let error_pages_url = settings.api_gateway.error_pages_url.clone();
        let error_pages_url = error_pages_url
            .unwrap_or_else(|| format!("{}://{api_address}/errors/", settings.load_balancer.scheme()))
            .into();
        let beside = admin::Front { api_address, error_pages_url };
        let serving = admin::serve(admin_listener, state.clone(), Arc::new(metrics), beside, admin_shutdown.clone());
        drop(runtime.spawn("admin", serving));
        let drain_delay = Duration::from_secs(settings.drain_delay_seconds);
        Ok(Self { runtime, admin_address, addresses, state, drain_delay, roles: running, admin_shutdown })
    }

    /// Where status, metrics and health are served.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where a role of this process is reached; `None` for one that takes no requests or runs elsewhere.
    #[must_use]
    pub fn address(&self, role: Role) -> Option<SocketAddr> {
        self.addresses.get(&role).copied()
    }

    /// Whether this process runs it.
    #[must_use]
    pub fn runs(&self, role: Role) -> bool {
        self.state.roles.contains(&role)
    }

    /// Whether everything that the roles need is there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        admin::Operated::readiness(&*self.state).iter().all(|(_, passed)| *passed)
    }

    /// Runs until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
    pub fn run_until_signal(self) -> impl Future<Output = ()> {
        let (runtime, state) = (self.runtime.clone(), self.state.clone());
        let running = signals::until_signal(move || self.stop());
        systemd::inform(&runtime, state);
        running
    }

    /// Says that it is going to end, goes on for as long as others need to notice, and drains.
    pub async fn stop(self) {
        let runtime = self.runtime.clone();
        match runtime.timeout(self.drain_delay + DRAIN_TIME_MAX, self.drain()).await {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!("the drain took too long; what was acknowledged is safe all the same"),
        }
    }

    async fn drain(self) {
        self.state.draining.store(true, Ordering::Release);
        self.state.checks.drain();
        self.runtime.sleep(self.drain_delay).await;
        for (role, shutdown, task) in self.roles {
            shutdown.request();
            // Without an answer its task has panicked, and ended with that.
            let _ = task.await;
            tracing::info!(role = role.name(), "drained");
        }
        self.admin_shutdown.request();
    }
}

impl admin::Operated for State {
    fn status(&self) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let roles: Vec<&str> = self.roles.iter().map(|role| role.name()).collect();
            let checks: BTreeMap<String, bool> = self.checks.all().into_iter().collect();
            let mut status = json!({
                "application": self.application,
                "version": env!("CARGO_PKG_VERSION"),
                "at": self.runtime.wall_clock().to_string(),
                "roles": roles,
                "checks": checks,
                "draining": self.draining.load(Ordering::Acquire),
            });
            self.watch.show(&self.watch.look(), &mut status);
            status
        })
    }

    fn readiness(&self) -> Vec<(String, bool)> {
        let draining = self.draining.load(Ordering::Acquire);
        std::iter::once(("not draining".to_owned(), !draining)).chain(self.checks.all()).collect()
    }

    fn set_queue_off(&self, _off: bool) -> bool {
        false
    }
}
