//! All boxes in one process, on embedded storage.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use command_database::EventStore;
use command_service::{Executor, Relay};
use event_handler::Handle;
use futures_util::future::BoxFuture;
use load_balancer::Instance;
use message_queue::{Fault, InProcessQueue};
use model::{Position, Registry};
use query_database::{RowWriter, SqliteQueryDatabase};
use runtime::{Runtime, Shutdown, Task};
use serde_json::{Value, json};

use crate::{
    DataDirectory, Error, Settings, admin,
    catching_up::AtStart,
    error::{Listener, chain},
    insecure::Switches,
    roles, signals, systemd, telemetry,
    watch::Watch,
};

/// How long a drain may take before the process ends all the same.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Every box of the diagram, running.
#[derive(Debug)]
pub struct Dev {
    api_address: SocketAddr,
    admin_address: SocketAddr,
    runtime: Runtime,
    boxes: Arc<Boxes>,
    executor: Arc<Executor>,
    relay: Relay,
    front: Task<()>,
    front_shutdown: Shutdown,
    admin_shutdown: Shutdown,
    shutdown: Shutdown,
    rows: Arc<SqliteQueryDatabase>,
    directory: DataDirectory,
    events_at_start: u64,
}

/// What the operator asks about.
struct Boxes {
    application: &'static str,
    runtime: Runtime,
    data: PathBuf,
    store: Arc<dyn EventStore>,
    queue: Arc<InProcessQueue>,
    handler: Arc<Handle>,
    watch: Arc<Watch>,
    instances: Vec<Instance>,
    draining: AtomicBool,
}

impl std::fmt::Debug for Boxes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Boxes").field("application", &self.application).finish_non_exhaustive()
    }
}

impl Dev {
    /// Starts everything, in the order of the arrows from the databases up: nobody is let in before what he needs is there.
    ///
    /// # Errors
    /// Whatever is in the way. An address that others could reach is found before the data directory is touched, and a
    /// directory that is in use before an address that is.
    pub async fn start(application: &'static str, registry: Arc<Registry>, settings: &Settings) -> Result<Self, Error> {
        roles::load_balancer::check(settings)?;
        Listener::Admin.check(settings.admin.listen)?;
        let directory = DataDirectory::open(Path::new(&settings.data), application)?;
        let runtime = Runtime::tokio();
        let listener = roles::load_balancer::bind(settings, &runtime)?;
        let admin_listener = admin::bind(settings.admin.listen).await?;
        Switches::of(settings).warn();
        let shutdown = Shutdown::new();
        let mut metrics = prometheus_client::registry::Registry::default();
        telemetry::register(application, settings, &mut metrics);

        let log =
            roles::command_database::start(&directory, &settings.command_database, &runtime, &mut metrics, &shutdown)?;
        let rows: Arc<SqliteQueryDatabase> = roles::query_database::start(&directory, &runtime, &mut metrics)?;
        let at_start = AtStart { head: Position::count(log.store.head().await?.position) };
        let generations = rows.generations().await?;
        let queue = roles::message_queue::start(&settings.message_queue, &runtime, &mut metrics);
        let handler = Arc::new(roles::event_handler::start(
            &registry,
            log.store.clone(),
            queue.clone(),
            rows.clone(),
            &settings.event_handler,
            &runtime,
            &mut metrics,
            &shutdown,
        ));
        let read_models = registry.projections().map(|projection| projection.read_model().name.clone()).collect();
        let telling = at_start.tell(generations, read_models, handler.clone(), runtime.clone(), shutdown.clone());
        runtime.spawn("catching up", telling);
        let service = roles::command_service::start(
            &log,
            queue.clone(),
            &registry,
            &settings.command_service,
            &runtime,
            &mut metrics,
        );
        let page_token_key = directory.secret("page-token", &runtime)?;
        let queries = roles::query_service::start(
            &registry,
            rows.clone(),
            page_token_key,
            &settings.query_service,
            &runtime,
            &mut metrics,
        );
        let files = directory.path();
        let watch = Arc::new(Watch {
            stores: vec![("log", DataDirectory::log(files)), ("rows", DataDirectory::rows(files))],
            free_bytes_min: settings.storage_free_bytes_min,
            handler: OnceLock::from((handler.clone(), at_start)),
            queries: OnceLock::from(queries.clone()),
        });
        telemetry::register_watch(watch.clone(), &mut metrics);
        let gateways = roles::api_gateway::start(service.executor.clone(), queries, settings, &runtime, &mut metrics);
        let front = roles::load_balancer::start(listener, gateways, settings, &runtime, &mut metrics)?;

        let api_address = front.listener.local_address();
        let admin_address = admin_listener.local_addr().map_err(|source| Error::Listen {
            listener: Listener::Admin,
            address: settings.admin.listen,
            source: source.into(),
        })?;
        let boxes = Arc::new(Boxes {
            application,
            runtime: runtime.clone(),
            data: directory.path().to_path_buf(),
            store: log.store,
            queue,
            handler,
            watch,
            instances: front.instances.clone(),
            draining: AtomicBool::new(false),
        });
        front.instances.iter().for_each(|instance| instance.set_ready(true));
        let (front_shutdown, admin_shutdown) = (Shutdown::new(), Shutdown::new());
        let serving = load_balancer::serve(front.listener, front.load_balancer, front_shutdown.clone());
        let front = runtime.spawn("load balancer", async move {
            serving.await;
        });
        // The pages are those of the interface, on its own listener.
        let error_pages_url = settings.api_gateway.error_pages_url.clone();
        let error_pages_url = error_pages_url
            .unwrap_or_else(|| format!("{}://{api_address}/errors/", settings.load_balancer.scheme()))
            .into();
        let beside = admin::Front { api_address, error_pages_url };
        let serving = admin::serve(admin_listener, boxes.clone(), Arc::new(metrics), beside, admin_shutdown.clone());
        runtime.spawn("admin", serving);
        Ok(Self {
            api_address,
            admin_address,
            runtime,
            boxes,
            executor: service.executor,
            relay: service.relay,
            front,
            front_shutdown,
            admin_shutdown,
            shutdown,
            rows,
            directory,
            events_at_start: at_start.head,
        })
    }

    /// Where the interface is served.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where status, metrics and health are served.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where the data is.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.boxes.data
    }

    /// How many events the log had when the process began.
    #[must_use]
    pub fn events_at_start(&self) -> u64 {
        self.events_at_start
    }

    /// What `/status` shows.
    pub async fn status(&self) -> Value {
        admin::Operated::status(&*self.boxes).await
    }

    /// Runs until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
    ///
    /// Signals are listened for from the call on, not only from the first poll: whoever tells others that the system is
    /// there calls this first, so that it drains however soon they stop it.
    pub fn run_until_signal(self) -> impl Future<Output = ()> {
        let (runtime, boxes) = (self.runtime.clone(), self.boxes.clone());
        let running = signals::until_signal(move || self.stop());
        systemd::inform(&runtime, boxes);
        running
    }

    /// Drains: refuses new requests, finishes those under way, relays what is committed, folds what was received.
    pub async fn stop(self) {
        let runtime = self.runtime.clone();
        match runtime.timeout(DRAIN_TIME_MAX, self.drain()).await {
            Ok(()) => tracing::info!("stopped; everything is on disk"),
            Err(_) => tracing::warn!("the drain took too long; what was acknowledged is safe all the same"),
        }
    }

    async fn drain(self) {
        self.boxes.draining.store(true, Ordering::Release);
        self.front_shutdown.request();
        self.front.await;
        self.executor.drain().await;
        self.relay.drain().await;
        self.boxes.handler.stop().await;
        if let Err(error) = self.rows.flush().await {
            tracing::warn!(error = %error, "the last rows were not stored; they are folded again at the next start");
        }
        self.shutdown.request();
        self.admin_shutdown.request();
        drop(self.directory);
    }
}

impl admin::Operated for Boxes {
    fn status(&self) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let head = match self.store.head().await {
                Ok(head) => json!(Position::count(head.position)),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the head of the log could not be read for the status");
                    Value::Null
                }
            };
            let mut status = json!({
                "application": self.application,
                "version": env!("CARGO_PKG_VERSION"),
                "at": self.runtime.wall_clock().to_string(),
                "data": self.data,
                "head": head,
            });
            self.watch.show(&self.watch.look(), &mut status);
            status
        })
    }

    fn readiness(&self) -> Vec<(String, bool)> {
        let gateways = self.instances.iter().any(Instance::is_ready);
        let owned = self.handler.status().projections.iter().all(|projection| projection.generation.is_some());
        vec![
            ("not draining".to_owned(), !self.draining.load(Ordering::Acquire)),
            ("an API Gateway is ready".to_owned(), gateways),
            ("every read model has a generation".to_owned(), owned),
        ]
    }

    fn set_queue_off(&self, off: bool) -> bool {
        self.queue.set_fault(off.then_some(Fault::Off));
        true
    }
}
