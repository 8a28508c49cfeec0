use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Error, Issued, Program,
    folder::{self, RunAs},
    keeper::{self, Keeper},
    port, program,
};

/// The superuser of every server that is started here.
const SUPERUSER: &str = "postgres";
const START_WAIT: Duration = Duration::from_secs(30);
/// Ports that are tried: somebody else may take one between its being found free and its use.
const PORTS_TRIED: usize = 5;

/// How a PostgreSQL is to be.
#[derive(Clone, Debug, Default)]
pub struct Postgres {
    settings: Vec<(String, String)>,
    tls: Option<Issued>,
}

impl Postgres {
    /// As Debian's package configures it, with room for a test's connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a setting of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a certificate: whoever asks for TLS has it.
    #[must_use]
    pub fn tls(mut self, issued: &Issued) -> Self {
        self.tls = Some(issued.clone());
        let own = [("ssl", "on"), ("ssl_cert_file", "tls-certificate.pem"), ("ssl_key_file", "tls-key.pem")];
        own.into_iter().fold(self, |postgres, (name, value)| postgres.setting(name, value))
    }

    /// Makes an empty one and starts it.
    ///
    /// # Errors
    /// [`Error::NotInstalled`]; what is said where it does not start.
    pub fn start(self) -> Result<PostgresServer, Error> {
        let run_as = RunAs::not_root()?;
        let (initdb, postgres) = (Program::Initdb.find()?, Program::Postgres.find()?);
        let folder = folder::make("diptych-postgres-", &run_as)?;
        let data = folder.path().join("data");
        let mut command = run_as.command(&initdb);
        // Its files need not survive a power cut, what is committed later is another matter.
        command.args(["--no-sync", "--no-instructions", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]);
        command.args([&format!("--username={SUPERUSER}"), "-D"]).arg(&data).current_dir(folder.path());
        program::run(&initdb, &mut command)?;
        if let Some(Issued { certificate, key }) = &self.tls {
            folder::give(certificate, &data.join("tls-certificate.pem"), &run_as)?;
            folder::give(key, &data.join("tls-key.pem"), &run_as)?;
        }
        let mut server =
            PostgresServer { settings: self.settings, postgres, run_as, data, port: 0, keeper: None, folder };
        server.start_anywhere()?;
        Ok(server)
    }
}

/// A running PostgreSQL, or one that was killed and may be started again. Dropped, it ends and its files are removed.
#[derive(Debug)]
pub struct PostgresServer {
    settings: Vec<(String, String)>,
    postgres: PathBuf,
    run_as: RunAs,
    data: PathBuf,
    port: u16,
    /// Before the folder: its files go after it has ended.
    keeper: Option<Keeper>,
    folder: TempDir,
}

impl PostgresServer {
    /// Copies this one, which is running, and starts the copy as a hot standby that follows it.
    ///
    /// # Errors
    /// [`Error::NotInstalled`]; what is said where it cannot be copied or does not start.
    pub fn standby(&self) -> Result<Self, Error> {
        let program = Program::PgBasebackup.find()?;
        let folder = folder::make("diptych-postgres-", &self.run_as)?;
        let data = folder.path().join("data");
        let mut command = self.run_as.command(&program);
        command.args(["--no-sync", "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf"]);
        command.args(["-d", &self.url(SUPERUSER), "-D"]).arg(&data).current_dir(folder.path());
        program::run(&program, &mut command)?;
        let Self { settings, postgres, run_as, .. } = self;
        let (settings, postgres, run_as) = (settings.clone(), postgres.clone(), run_as.clone());
        let mut standby = Self { settings, postgres, run_as, data, port: 0, keeper: None, folder };
        standby.start_anywhere()?;
        Ok(standby)
    }

    /// Makes a standby, running or stopped, the successor of `primary`, which has ended: it comes up at that one's address,
    /// where everybody looks for it, and takes commits from then on.
    ///
    /// # Errors
    /// [`Error::NotInstalled`]; what is said where it does not start or is no standby.
    pub fn succeed(&mut self, primary: &Self) -> Result<(), Error> {
        let program = Program::PgCtl.find()?;
        self.stop()?;
        self.port = primary.port;
        self.start()?;
        let mut command = self.run_as.command(&program);
        command.args(["promote", "--wait", "-D"]).arg(&self.data).current_dir(self.folder.path());
        program::run(&program, &mut command)
    }

    /// Changes a setting of `postgresql.conf`; it holds from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    fn start_anywhere(&mut self) -> Result<(), Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            self.port = port::free().map_err(|source| Error::Run { program: self.postgres.clone(), source })?;
            match self.start() {
                Err(Error::NotReady { .. }) if tried < PORTS_TRIED => {}
                result => return result,
            }
        }
    }

    /// Starts it again, on its port, after [`PostgresServer::kill`] or [`PostgresServer::stop`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&mut self) -> Result<(), Error> {
        self.keeper = None;
        let mut command = self.run_as.command(&self.postgres);
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        let own = [("listen_addresses", "127.0.0.1"), ("unix_socket_directories", ""), ("max_connections", "200")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in own.iter().chain(&self.settings) {
            command.args(["-c", &format!("{name}={value}")]);
        }
        // SIGQUIT is PostgreSQL's immediate shutdown: it waits for nobody's connection.
        let mut keeper = Keeper::start(&command, "QUIT", self.folder.path())?;
        if !port::wait_for_postgres(self.port, SUPERUSER, START_WAIT, || keeper.is_alive()) {
            return Err(Error::NotReady {
                program: self.postgres.clone(),
                port: self.port,
                seconds: START_WAIT.as_secs(),
                said: keeper::last_words(self.folder.path()),
            });
        }
        self.keeper = Some(keeper);
        Ok(())
    }

    /// Kills it (SIGKILL) with all its processes, as a crash of the machine's process would: the disk's cache survives.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.keeper.take().map_or(Ok(()), Keeper::kill)
    }

    /// Stops it in order, ending its connections.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.keeper.take().map_or(Ok(()), |keeper| keeper.stop("INT"))
    }

    /// Its loopback port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's address of a database on it. `postgres` exists from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// A user's address of a database on it. Everybody is trusted.
    #[must_use]
    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// The process id of the running server.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.keeper.as_ref().map(Keeper::server)
    }

    /// Where its files are.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(keeper::LOG)).unwrap_or_default()
    }
}
