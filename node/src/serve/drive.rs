//! One role after the other: what it needs, what it runs, and how it ends.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use command_service::{CommandEndpoint, CommandService, RemoteCommandService};
use futures_util::future::{BoxFuture, join};
use load_balancer::{Gateways, Instance, RemoteLimits};
use model::{Position, Registry};
use parking_lot::Mutex;
use query_service::{QueryEndpoint, QueryService, RemoteQueryService};
use runtime::{Runtime, Shutdown};
use wire::{Answers, Caller, CallerLimits, Endpoint, Instances, MutualTls, ServerLimits};

use super::{checks::Checks, late::Late, reach::Needed, role::Role};
use crate::{Error, Settings, catching_up::AtStart, clocks, roles, tls, watch::Watch};

/// How long the API Gateway waits for what becomes of a command before it says that nobody knows.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);

/// What `/readyz` calls an event handler that has begun.
const FOLDS: &str = "the event handler folds";

/// What `/readyz` and the log call the servers.
const LOG: &str = "the Command Database";
const QUEUE: &str = "the Message Queue";
const ROWS: &str = "the Query Database";
const HEAD: &str = "the head of the log";

type Metrics = prometheus_client::registry::Registry;

/// A role whose listener is open.
pub(super) struct Started {
    pub(super) role: Role,
    pub(super) address: Option<SocketAddr>,
    /// Ends it.
    pub(super) shutdown: Shutdown,
    /// Ends when it has drained.
    pub(super) run: BoxFuture<'static, ()>,
}

/// What roles are started with.
pub(super) struct Drive<'a> {
    application: &'static str,
    registry: Arc<Registry>,
    settings: &'a Settings,
    roles: &'a [Role],
    runtime: Runtime,
    checks: Checks,
    pub(super) watch: Arc<Watch>,
    commands: Late<dyn CommandService>,
    queries: Late<dyn QueryService>,
    gateway: OnceLock<api_gateway::ApiGateway>,
    /// Of boxes that several roles have to do with: once a process.
    log_metrics: OnceLock<command_database::Metrics>,
    queue_metrics: OnceLock<message_queue::Metrics>,
    page_token_key: Option<[u8; 32]>,
    /// What it calls in other processes.
    pub(super) peers: Mutex<Vec<Instances>>,
    /// With other processes; everything between processes is under it then.
    tls: Option<MutualTls>,
    databases: tls::Databases,
    /// Of the databases that its roles work on.
    pub(super) clocks: Vec<clocks::Database>,
}

/// What a role cannot do without is found missing at once, and not waited for.
fn needed(settings: &Settings, roles: &[Role]) -> Result<(), Error> {
    let Settings { command_database, query_database, message_queue, .. } = settings;
    for (setting, value, by) in [
        ("command_database.url", &command_database.url, [Role::CommandService, Role::EventHandler].as_slice()),
        ("message_queue.servers", &message_queue.servers, &[Role::CommandService, Role::EventHandler]),
        ("query_database.url", &query_database.url, &[Role::EventHandler, Role::QueryService]),
    ] {
        if let Some(role) = by.iter().find(|role| roles.contains(role) && value.is_empty()) {
            return Err(Error::Settings(format!("{setting} is empty, and {} needs it", role.name())));
        }
    }
    Ok(())
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        application: &'static str,
        registry: Arc<Registry>,
        settings: &'a Settings,
        roles: &'a [Role],
        runtime: Runtime,
        checks: Checks,
    ) -> Result<Self, Error> {
        needed(settings, roles)?;
        let page_token_key = match roles.contains(&Role::QueryService) {
            true => Some(settings.query_service.page_token_key()?),
            false => None,
        };
        let tls = tls::between(application, settings, roles, &runtime)?;
        let databases = tls::Databases::read(settings)?;
        databases.follow(&runtime);
        tls::check_queue(settings)?;
        let clocks = clocks::Database::of(settings, roles, &databases);
        Ok(Self {
            clocks,
            tls,
            databases,
            application,
            registry,
            settings,
            roles,
            runtime,
            checks,
            watch: Arc::default(),
            commands: Late::default(),
            queries: Late::default(),
            gateway: OnceLock::new(),
            log_metrics: OnceLock::new(),
            queue_metrics: OnceLock::new(),
            page_token_key,
            peers: Mutex::default(),
        })
    }

    fn runs(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// All roles, in the order in which they end.
    pub(super) fn start(&self, metrics: &mut Metrics) -> Result<Vec<Started>, Error> {
        // The gateway first: a load balancer in the same process has it as a neighbour.
        let mut gateway = self.runs(Role::ApiGateway).then(|| self.api_gateway(metrics)).transpose()?;
        let mut started = Vec::new();
        for role in self.roles {
            match role {
                Role::LoadBalancer => started.push(self.load_balancer(metrics)?),
                Role::ApiGateway => started.extend(gateway.take()),
                Role::CommandService => started.push(self.command_service(metrics)?),
                Role::EventHandler => started.push(self.event_handler(metrics)?),
                Role::QueryService => started.push(self.query_service(metrics)?),
            }
        }
        Ok(started)
    }

    /// The instances of a role that a setting names, looked after until the process ends.
    fn instances(&self, role: Role, setting: &str, addresses: &str) -> Result<Caller, Error> {
        let addresses = addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
        let instances = Instances::new(addresses.map(str::to_owned).collect());
        let instances = instances.map_err(|error| Error::Settings(format!("{setting}: {error}")))?;
        let instances = match &self.tls {
            Some(tls) => instances.under_tls(tls.client(role.name())),
            None => instances,
        };
        self.peers.lock().push(instances.clone());
        Ok(Caller::start(&self.runtime, instances, CallerLimits::default(), Shutdown::new()))
    }

    fn load_balancer(&self, metrics: &mut Metrics) -> Result<Started, Error> {
        let listener = roles::load_balancer::bind(self.settings, &self.runtime)?;
        let address = listener.local_address();
        let shutdown = Shutdown::new();
        let measured = roles::load_balancer::metrics(metrics);
        let addresses = &self.settings.load_balancer.api_gateways;
        let gateways = match self.gateway.get().filter(|_| addresses.is_empty()) {
            Some(gateway) => Gateways::here(vec![Instance::new("api-gateway", gateway.clone())]),
            None => {
                let known = self.instances(Role::ApiGateway, "load_balancer.api_gateways", addresses)?;
                Gateways::elsewhere(known.instances(), &self.runtime, &measured, RemoteLimits::default())
            }
        };
        let looked_at = gateways.clone();
        self.checks.look("an API Gateway is ready", move || looked_at.is_any_ready());
        let load_balancer = roles::load_balancer::over(gateways, self.settings, &self.runtime, measured)?;
        let serving = load_balancer::serve(listener, load_balancer, shutdown.clone());
        let run = Box::pin(async move {
            serving.await;
        });
        Ok(Started { role: Role::LoadBalancer, address: Some(address), shutdown, run })
    }

    fn api_gateway(&self, metrics: &mut Metrics) -> Result<Started, Error> {
        let settings = &self.settings.api_gateway;
        let commands: Arc<dyn CommandService> =
            if self.runs(Role::CommandService) && settings.command_services.is_empty() {
                Arc::new(self.commands.clone())
            } else {
                let caller =
                    self.instances(Role::CommandService, "api_gateway.command_services", &settings.command_services)?;
                Arc::new(RemoteCommandService::new(self.runtime.clone(), caller, COMMAND_PATIENCE))
            };
        let queries: Arc<dyn QueryService> = if self.runs(Role::QueryService) && settings.query_services.is_empty() {
            Arc::new(self.queries.clone())
        } else {
            let caller = self.instances(Role::QueryService, "api_gateway.query_services", &settings.query_services)?;
            Arc::new(RemoteQueryService::new(caller))
        };
        let gateway = roles::api_gateway::one(commands, queries, self.settings, &self.runtime, metrics);
        let _ = self.gateway.set(gateway.clone());
        let endpoint = self.endpoint(Role::ApiGateway, settings.listen)?;
        let (address, shutdown, checks) = (endpoint.address(), Shutdown::new(), self.checks.clone());
        let served = Arc::new(api_gateway::Served::new(gateway, move || !checks.is_draining()));
        let connections_max = self.settings.load_balancer.connections_max;
        let run = wire::serve_http(endpoint, served, connections_max, self.runtime.clone(), shutdown.clone());
        Ok(Started { role: Role::ApiGateway, address: Some(address), shutdown, run: Box::pin(run) })
    }

    fn shared_metrics(&self, metrics: &mut Metrics) -> (command_database::Metrics, message_queue::Metrics) {
        let log = self.log_metrics.get_or_init(|| roles::command_database::metrics(metrics)).clone();
        (log, self.queue_metrics.get_or_init(|| roles::message_queue::metrics(metrics)).clone())
    }

    fn endpoint(&self, role: Role, address: SocketAddr) -> Result<Endpoint, Error> {
        let bound = match &self.tls {
            Some(tls) => Endpoint::bind_under_tls(address, tls.server(role.callers())),
            None => Endpoint::bind(address),
        };
        bound.map_err(|source| Error::Endpoint { role: role.name(), source })
    }

    /// Whether a service that comes later takes calls.
    fn takes_calls<T: ?Sized + Send + Sync + 'static>(&self, late: &Late<T>) -> impl Fn() -> bool + use<T> {
        let (late, checks) = (late.clone(), self.checks.clone());
        move || late.is_there() && !checks.is_draining()
    }

    fn serve(
        &self,
        endpoint: Endpoint,
        answers: Arc<dyn Answers>,
        shutdown: &Shutdown,
    ) -> impl Future<Output = ()> + use<> {
        wire::serve(endpoint, answers, ServerLimits::default(), self.runtime.clone(), shutdown.clone())
    }

    fn command_service(&self, metrics: &mut Metrics) -> Result<Started, Error> {
        let endpoint = self.endpoint(Role::CommandService, self.settings.command_service.listen)?;
        let (address, shutdown) = (endpoint.address(), Shutdown::new());
        let late = self.commands.clone();
        let answers = Arc::new(CommandEndpoint::new(Arc::new(late.clone()), self.takes_calls(&late)));
        let serving = self.serve(endpoint, answers, &shutdown);

        let (runtime, registry, stop) = (self.runtime.clone(), self.registry.clone(), shutdown.clone());
        let (measured_log, measured_queue) = self.shared_metrics(metrics);
        let measured = roles::command_service::metrics(metrics);
        let needs_log = Needed::new(Role::CommandService, LOG, &self.checks);
        let needs_queue = Needed::new(Role::CommandService, QUEUE, &self.checks);
        let (settings, databases) = (self.settings.clone(), self.databases.clone());
        let application = self.application;
        let run = async move {
            let behind = async {
                let connect = || {
                    let (settings, migrate) = (&settings.command_database, settings.migrate_at_start);
                    roles::command_database::connect(settings, databases.log.as_ref(), migrate, &runtime, &measured_log)
                };
                let store = needs_log.reach(&runtime, &stop, connect).await?;
                let log = roles::command_database::over(
                    store,
                    &settings.command_database,
                    &runtime,
                    measured_log.clone(),
                    &stop,
                );
                let connect =
                    || roles::message_queue::connect(application, &settings.message_queue, &runtime, &measured_queue);
                let queue = needs_queue.reach(&runtime, &stop, connect).await?;
                let service = roles::command_service::beside_others(
                    &log,
                    queue,
                    &registry,
                    &settings.command_service,
                    &runtime,
                    &measured,
                );
                late.come(service.executor.clone());
                Some(service)
            };
            let ((), service) = join(serving, behind).await;
            if let Some(service) = service {
                service.executor.drain().await;
                service.relay.drain().await;
            }
        };
        Ok(Started { role: Role::CommandService, address: Some(address), shutdown, run: Box::pin(run) })
    }

    fn event_handler(&self, metrics: &mut Metrics) -> Result<Started, Error> {
        let shutdown = Shutdown::new();
        let (runtime, checks, registry, stop) =
            (self.runtime.clone(), self.checks.clone(), self.registry.clone(), shutdown.clone());
        checks.note(FOLDS, false);
        let (measured_log, measured_queue) = self.shared_metrics(metrics);
        let measured = roles::event_handler::metrics(metrics);
        let needs_log = Needed::new(Role::EventHandler, LOG, &self.checks);
        let needs_queue = Needed::new(Role::EventHandler, QUEUE, &self.checks);
        let needs_rows = Needed::new(Role::EventHandler, ROWS, &self.checks);
        let (settings, watch, application) = (self.settings.clone(), self.watch.clone(), self.application);
        let databases = self.databases.clone();
        let run = async move {
            let behind = async {
                let connect = || {
                    // Who only reads the log has no right to make it.
                    let log = &settings.command_database;
                    roles::command_database::connect(log, databases.log.as_ref(), false, &runtime, &measured_log)
                };
                let store = needs_log.reach(&runtime, &stop, connect).await?;
                let connect =
                    || roles::message_queue::connect(application, &settings.message_queue, &runtime, &measured_queue);
                let queue = needs_queue.reach(&runtime, &stop, connect).await?;
                let connect = || {
                    let (settings, migrate) = (&settings.query_database, settings.migrate_at_start);
                    roles::query_database::connect_writing(settings, databases.rows.as_ref(), migrate, &runtime)
                };
                let rows = needs_rows.reach(&runtime, &stop, connect).await?;
                let head =
                    Needed::new(Role::EventHandler, HEAD, &checks).reach(&runtime, &stop, || store.head()).await?;
                let at_start = AtStart { head: Position::count(head.position) };
                let handler = Arc::new(roles::event_handler::over(
                    &registry,
                    store.clone(),
                    queue,
                    rows,
                    roles::event_handler::config_beside_others(&settings.event_handler),
                    &runtime,
                    measured,
                    &Shutdown::new(),
                ));
                Some((handler, at_start))
            };
            let Some((handler, at_start)) = behind.await else { return };
            checks.note(FOLDS, true);
            let looked_at = handler.clone();
            // One that stands by has had it in its hands, too.
            let is_known =
                move || looked_at.status().projections.iter().all(|projection| projection.generation.is_some());
            checks.look("every read model has a generation", is_known);
            let _ = watch.handler.set((handler.clone(), at_start));
            stop.requested().await;
            handler.stop().await;
        };
        Ok(Started { role: Role::EventHandler, address: None, shutdown, run: Box::pin(run) })
    }

    fn query_service(&self, metrics: &mut Metrics) -> Result<Started, Error> {
        let endpoint = self.endpoint(Role::QueryService, self.settings.query_service.listen)?;
        let (address, shutdown) = (endpoint.address(), Shutdown::new());
        let late = self.queries.clone();
        let answers = Arc::new(QueryEndpoint::new(Arc::new(late.clone()), self.takes_calls(&late)));
        let serving = self.serve(endpoint, answers, &shutdown);

        let (runtime, registry, stop) = (self.runtime.clone(), self.registry.clone(), shutdown.clone());
        let measured = roles::query_service::metrics(metrics);
        let needs_rows = Needed::new(Role::QueryService, ROWS, &self.checks);
        let (settings, watch, key) =
            (self.settings.clone(), self.watch.clone(), self.page_token_key.unwrap_or_default());
        let databases = self.databases.clone();
        let run = async move {
            let behind = async {
                let (rows, authorities) = (&settings.query_database, databases.rows.as_ref());
                let connect = || roles::query_database::connect_reading(rows, authorities, &runtime);
                let rows = needs_rows.reach(&runtime, &stop, connect).await?;
                let queries =
                    roles::query_service::over(&registry, rows, key, &settings.query_service, &runtime, &measured);
                let _ = watch.queries.set(queries.clone());
                late.come(queries);
                Some(())
            };
            join(serving, behind).await;
        };
        Ok(Started { role: Role::QueryService, address: Some(address), shutdown, run: Box::pin(run) })
    }
}
