use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Error,
    folder::{self, RunAs},
    keeper::{self, Keeper},
    port,
};

/// A box that an application runs as a process, as `serve --role` names it. Not the application's own type for it: whoever
/// starts a program from outside does not link it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Faces the users.
    LoadBalancer,
    /// Routes commands and queries.
    ApiGateway,
    /// Decides, appends, relays.
    CommandService,
    /// Folds events into rows.
    EventHandler,
    /// Answers queries.
    QueryService,
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load-balancer",
            Self::ApiGateway => "api-gateway",
            Self::CommandService => "command-service",
            Self::EventHandler => "event-handler",
            Self::QueryService => "query-service",
        }
    }

    /// Where its listener's address is set; `None` for one that has no listener.
    fn listen(self) -> Option<String> {
        let name = self.name().to_ascii_uppercase().replace('-', "_");
        (self != Self::EventHandler).then(|| format!("DIPTYCH__{name}__LISTEN"))
    }
}

const READY_WAIT: Duration = Duration::from_secs(60);

/// A process of an application that runs one box. Dropped, it ends and its folder is removed.
#[derive(Debug)]
pub struct Service {
    binary: PathBuf,
    role: Role,
    settings: Vec<(String, String)>,
    port: u16,
    admin_port: u16,
    keeper: Option<Keeper>,
    folder: TempDir,
}

impl Service {
    /// Starts `binary serve --role`; `settings` are variables of its environment. [`Service::wait_until_ready`] tells when it
    /// does its part.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(binary: &Path, role: Role, settings: &[(String, String)]) -> Result<Self, Error> {
        let failed = |source| Error::Run { program: binary.to_owned(), source };
        let folder = folder::make(&format!("diptych-{}-", role.name()), &RunAs::Self_)?;
        let (port, admin_port) = (port::free().map_err(failed)?, port::free().map_err(failed)?);
        let (binary, settings) = (binary.to_owned(), settings.to_vec());
        let mut service = Self { binary, role, settings, port, admin_port, keeper: None, folder };
        service.restart()?;
        Ok(service)
    }

    /// Starts it again, on its ports, after [`Service::kill`] or [`Service::stop`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.keeper = None;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let own = self.role.listen().map(|name| (name, address(self.port)));
        let own = own.into_iter().chain([("DIPTYCH__ADMIN__LISTEN".to_owned(), address(self.admin_port))]);
        let mut command = Command::new("env");
        command.args(own.chain(self.settings.iter().cloned()).map(|(name, value)| format!("{name}={value}")));
        command.arg(&self.binary).args(["serve", "--role", self.role.name()]);
        self.keeper = Some(Keeper::start(&command, "TERM", self.folder.path())?);
        Ok(())
    }

    /// Changes a setting, a variable of its environment; it holds from the next [`Service::restart`] on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// [`Error::NotReady`] with its last words.
    pub fn wait_until_ready(&mut self) -> Result<(), Error> {
        let is_alive = || self.keeper.as_mut().is_some_and(Keeper::is_alive);
        if port::wait_until_ready(self.admin_port, READY_WAIT, is_alive) {
            return Ok(());
        }
        Err(Error::NotReady {
            program: self.binary.clone(),
            port: self.admin_port,
            seconds: READY_WAIT.as_secs(),
            said: keeper::last_words(self.folder.path()),
        })
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.keeper.take().map_or(Ok(()), Keeper::kill)
    }

    /// Tells it to end (SIGTERM) and waits until it has drained.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.keeper.take().map_or(Ok(()), |keeper| keeper.stop("TERM"))
    }

    /// What it runs.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where it is reached, `HOST:PORT`; `None` for a role that takes no requests.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        self.role.listen().map(|_| format!("127.0.0.1:{}", self.port))
    }

    /// Where its status, metrics and health are.
    #[must_use]
    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }

    /// The process id of the running service.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.keeper.as_ref().map(Keeper::server)
    }

    /// Where its log is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
