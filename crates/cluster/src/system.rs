use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, NatsServer, Postgres, PostgresServer, Role, Service, program};

/// How many of each service run.
const INSTANCES: usize = 2;
const NATS_SERVERS: usize = 3;

/// Every box a process: a Command Database with a synchronous standby, a Query Database with a replica, three NATS servers,
/// two of each service, and one Load Balancer before them. Dropped, all of it ends and its files are removed.
#[derive(Debug)]
pub struct System {
    /// In the order in which they end: first who asks others.
    pub services: Vec<Service>,
    /// The queue.
    pub nats: Vec<NatsServer>,
    /// The Query Database.
    pub rows: PostgresServer,
    /// Follows it.
    pub rows_replica: PostgresServer,
    /// The Command Database.
    pub log: PostgresServer,
    /// Has each commit before it is acknowledged.
    pub log_standby: PostgresServer,
}

/// What runs where.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name, with a number where there are several.
    pub name: String,
    /// Where it is reached.
    pub address: Option<String>,
    /// Where its status, metrics and health are.
    pub admin: Option<String>,
    /// Its process id.
    pub process: Option<u32>,
    /// Its files.
    pub folder: PathBuf,
}

impl System {
    /// Starts everything, `binary` being an application on Diptych, and waits until it is ready.
    ///
    /// # Errors
    /// Whatever does not start, with what it said.
    pub fn start(binary: &Path) -> Result<Self, Error> {
        Self::start_with(binary, &[])
    }

    /// As [`System::start`], with `others`, variables of every service's environment.
    ///
    /// # Errors
    /// As [`System::start`].
    pub fn start_with(binary: &Path, others: &[(&str, &str)]) -> Result<Self, Error> {
        let mut log = Postgres::new().start()?;
        let log_standby = log.standby()?;
        // Only now: before there is a standby, nobody could confirm a commit.
        log.set("synchronous_standby_names", "*");
        log.stop()?;
        log.start()?;
        // A replica whose primary is back looks for it at once, and not only after PostgreSQL's five seconds.
        let rows = Postgres::new().setting("wal_retrieve_retry_interval", "250ms").start()?;
        let nats = NatsServer::start_cluster(NATS_SERVERS)?;
        let mut settings = settings(&log, &rows, &nats);
        settings.extend(others.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        migrate(binary, &settings)?;
        let rows_replica = rows.standby()?;
        settings.push(("DIPTYCH__QUERY_DATABASE__READ_URLS".to_owned(), rows_replica.url("postgres")));

        let several = |role: Role, settings: &[(String, String)]| -> Result<Vec<Service>, Error> {
            (0..INSTANCES).map(|_| Service::start(binary, role, settings)).collect()
        };
        let commands = several(Role::CommandService, &settings)?;
        let queries = several(Role::QueryService, &settings)?;
        let handlers = several(Role::EventHandler, &settings)?;
        settings.push(("DIPTYCH__API_GATEWAY__COMMAND_SERVICES".to_owned(), addresses(&commands)));
        settings.push(("DIPTYCH__API_GATEWAY__QUERY_SERVICES".to_owned(), addresses(&queries)));
        let gateways = several(Role::ApiGateway, &settings)?;
        settings.push(("DIPTYCH__LOAD_BALANCER__API_GATEWAYS".to_owned(), addresses(&gateways)));
        let front = Service::start(binary, Role::LoadBalancer, &settings)?;
        let mut services = vec![front];
        services.extend(gateways.into_iter().chain(commands).chain(handlers).chain(queries));
        let mut system = Self { services, nats, rows, rows_replica, log, log_standby };
        system.services.iter_mut().try_for_each(Service::wait_until_ready)?;
        Ok(system)
    }

    /// The interface's address.
    #[must_use]
    pub fn api(&self) -> String {
        let front = self.services.iter().find(|service| service.role() == Role::LoadBalancer);
        format!("http://{}", front.and_then(Service::address).unwrap_or_default())
    }

    /// The services of a role.
    pub fn services_mut(&mut self, role: Role) -> impl Iterator<Item = &mut Service> {
        self.services.iter_mut().filter(move |service| service.role() == role)
    }

    /// What runs where, for people.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let service = |service: &Service| Part {
            name: service.role().name().to_owned(),
            address: service.address(),
            admin: Some(service.admin()),
            process: service.process(),
            folder: service.folder().to_owned(),
        };
        let postgres = |name: &str, server: &PostgresServer| Part {
            name: name.to_owned(),
            address: Some(server.url("postgres")),
            admin: None,
            process: server.process(),
            folder: server.data().to_owned(),
        };
        let nats = |server: &NatsServer| Part {
            name: "message-queue".to_owned(),
            address: Some(server.url()),
            admin: None,
            process: server.process(),
            folder: server.folder().to_owned(),
        };
        let mut parts: Vec<Part> = self.services.iter().map(service).collect();
        parts.push(postgres("command-database", &self.log));
        parts.push(postgres("command-database standby", &self.log_standby));
        parts.extend(self.nats.iter().map(nats));
        parts.push(postgres("query-database", &self.rows));
        parts.push(postgres("query-database replica", &self.rows_replica));
        parts
    }
}

fn settings(log: &PostgresServer, rows: &PostgresServer, nats: &[NatsServer]) -> Vec<(String, String)> {
    let servers: Vec<String> = nats.iter().map(NatsServer::url).collect();
    let settings = [
        ("DIPTYCH__COMMAND_DATABASE__URL", log.url("postgres")),
        ("DIPTYCH__QUERY_DATABASE__URL", rows.url("postgres")),
        ("DIPTYCH__MESSAGE_QUEUE__SERVERS", servers.join(",")),
        // Of a system for one machine and one afternoon.
        ("DIPTYCH__QUERY_SERVICE__PAGE_TOKEN_KEY", "5e".repeat(32)),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn migrate(binary: &Path, settings: &[(String, String)]) -> Result<(), Error> {
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    program::run(binary, Command::new(binary).arg("migrate").envs(settings))
}

fn addresses(services: &[Service]) -> String {
    services.iter().filter_map(Service::address).collect::<Vec<_>>().join(",")
}
