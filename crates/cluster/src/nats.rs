use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Error, Program,
    folder::{self, RunAs},
    keeper::{self, Keeper},
    port,
};

const START_WAIT: Duration = Duration::from_secs(20);
const PORTS_TRIED: usize = 5;

/// A running NATS server with JetStream, or one that was killed and may be started again. Dropped, it ends and its files are
/// removed.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    port: u16,
    has_jetstream: bool,
    /// What its configuration has beside that.
    settings: String,
    /// Before the folder: its files go after it has ended.
    keeper: Option<Keeper>,
    folder: TempDir,
}

impl NatsServer {
    /// Starts one alone, with an empty JetStream.
    ///
    /// # Errors
    /// [`Error::NotInstalled`]; what is said where it does not start.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(true, "")
    }

    /// Starts one that has no JetStream, as it comes from the package.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub fn start_without_jetstream() -> Result<Self, Error> {
        Self::start_with(false, "")
    }

    /// Starts one whose configuration has `settings` beside its listener and an empty JetStream, in NATS's own language.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub fn start_configured(settings: &str) -> Result<Self, Error> {
        Self::start_with(true, settings)
    }

    /// Starts `count` that are one cluster, so that a stream can have as many replicas.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub fn start_cluster(count: usize) -> Result<Vec<Self>, Error> {
        let failed = |source| Error::Run { program: PathBuf::from("nats-server"), source };
        let ports = (0..count).map(|_| port::free()).collect::<std::io::Result<Vec<u16>>>().map_err(failed)?;
        let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let settings = ports.iter().enumerate().map(|(index, port)| {
            format!(
                "server_name: n{}\ncluster {{ name: diptych, listen: \"127.0.0.1:{port}\", routes: {routes:?} }}\n",
                index + 1
            )
        });
        settings.map(|settings| Self::start_with(true, &settings)).collect()
    }

    fn start_with(has_jetstream: bool, settings: &str) -> Result<Self, Error> {
        let program = Program::Nats.find()?;
        let folder = folder::make("diptych-nats-", &RunAs::Self_)?;
        let mut server = Self { program, port: 0, has_jetstream, settings: settings.to_owned(), keeper: None, folder };
        let mut tried = 0;
        loop {
            tried += 1;
            server.port = port::free().map_err(|source| Error::Run { program: server.program.clone(), source })?;
            match server.restart() {
                Err(Error::NotReady { .. }) if tried < PORTS_TRIED => {}
                result => return result.map(|()| server),
            }
        }
    }

    /// Starts it again, on its port, after [`NatsServer::kill`], [`NatsServer::stop`] or [`NatsServer::wipe`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.keeper = None;
        let configuration = self.folder.path().join("nats.conf");
        let mut text = format!("listen: \"127.0.0.1:{}\"\n", self.port);
        if self.has_jetstream {
            text.push_str(&format!("jetstream {{ store_dir: {:?} }}\n", self.store()));
        }
        text.push_str(&self.settings);
        fs::write(&configuration, text).map_err(|source| Error::File { path: configuration.clone(), source })?;
        let mut command = RunAs::Self_.command(&self.program);
        command.arg("-c").arg(&configuration);
        let mut keeper = Keeper::start(&command, "TERM", self.folder.path())?;
        if !port::wait(self.port, START_WAIT, || keeper.is_alive()) {
            return Err(Error::NotReady {
                program: self.program.clone(),
                port: self.port,
                seconds: START_WAIT.as_secs(),
                said: keeper::last_words(self.folder.path()),
            });
        }
        self.keeper = Some(keeper);
        Ok(())
    }

    /// What the configuration of the next [`NatsServer::restart`] also has, in NATS's own language.
    pub fn configure(&mut self, settings: &str) {
        settings.clone_into(&mut self.settings);
    }

    /// Where its streams are.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.keeper.take().map_or(Ok(()), Keeper::kill)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.keeper.take().map_or(Ok(()), |keeper| keeper.stop("TERM"))
    }

    /// Suspends it (SIGSTOP): it keeps its connections and answers nobody.
    ///
    /// # Errors
    /// When it is not running.
    pub fn suspend(&self) -> Result<(), Error> {
        self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.signal("STOP"))
    }

    /// Lets it go on after [`NatsServer::suspend`].
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&self) -> Result<(), Error> {
        self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.signal("CONT"))
    }

    /// Removes everything that a stopped one has stored.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn wipe(&mut self) -> Result<(), Error> {
        let store = self.store();
        match fs::remove_dir_all(&store) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File { path: store, source }),
            _ => Ok(()),
        }
    }

    /// The process id of the running server.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.keeper.as_ref().map(Keeper::server)
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}
