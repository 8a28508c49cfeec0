use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;

use crate::{
    Error, Program,
    folder::{self, RunAs},
    keeper::{self, Keeper},
    port,
};

const START_WAIT: Duration = Duration::from_secs(20);

/// A running HAProxy. Dropped, it ends.
#[derive(Debug)]
pub struct HaproxyServer {
    port: u16,
    /// Before the folder: its files go after it has ended.
    _keeper: Keeper,
    _folder: TempDir,
}

impl HaproxyServer {
    /// Starts one by `configuration`, in which each address of `moved` is another one here, and `public` is a free one.
    ///
    /// # Errors
    /// [`Error::NotInstalled`]; what is said where it does not start.
    pub fn start(configuration: &str, public: &str, moved: &[(&str, String)]) -> Result<Self, Error> {
        let program = Program::Haproxy.find()?;
        let failed = |source| Error::Run { program: PathBuf::from("haproxy"), source };
        let port = port::free().map_err(failed)?;
        let folder = folder::make("diptych-haproxy-", &RunAs::Self_)?;
        let path = folder.path().join("haproxy.cfg");
        let ours = [(public, format!("127.0.0.1:{port}"))];
        let text =
            moved.iter().chain(&ours).fold(configuration.to_owned(), |text, (there, here)| text.replace(there, here));
        fs::write(&path, text).map_err(|source| Error::File { path: path.clone(), source })?;
        let mut command = RunAs::Self_.command(&program);
        // In the foreground, whatever the configuration says.
        command.arg("-db").arg("-f").arg(&path);
        let mut keeper = Keeper::start(&command, "TERM", folder.path())?;
        if !port::wait(port, START_WAIT, || keeper.is_alive()) {
            let said = keeper::last_words(folder.path());
            return Err(Error::NotReady { program, port, seconds: START_WAIT.as_secs(), said });
        }
        Ok(Self { port, _keeper: keeper, _folder: folder })
    }

    /// Where it listens, `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
