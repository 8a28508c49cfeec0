use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use crate::{Error, program};

/// Starts the server and says its process id. When whoever holds the other end of its input is gone, by whatever death, it ends
/// the server, by id, and removes its folder. A server that ends by itself takes its keeper with it and leaves its folder.
const SCRIPT: &str = r#"
quit="$1" folder="$2"; shift 2
exec 3<&0
"$@" </dev/null >&2 3<&- &
server=$!
echo "$server"
exec >/dev/null
(
    while read -r _ <&3; do :; done
    : >"$folder/.abandoned"
    kill -s "$quit" "$server"
    while kill -0 "$server"; do sleep 0.02; done
    rm -rf -- "$folder"
) 2>/dev/null &
watch=$!
exec 3<&-
wait "$server"
if [ -e "$folder/.abandoned" ]; then wait "$watch"; else kill "$watch" 2>/dev/null; fi
"#;

/// What a server prints.
pub(crate) const LOG: &str = "server.log";

/// A server's process, and the one that keeps it.
#[derive(Debug)]
pub(crate) struct Keeper {
    keeper: Child,
    /// Closed, it ends the server.
    input: Option<ChildStdin>,
    server: u32,
}

impl Keeper {
    /// Starts `command`; what it prints goes into `server.log` in its folder. `quit` is the signal that ends it.
    pub(crate) fn start(command: &Command, quit: &str, folder: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Run { program: command.get_program().into(), source };
        let log = File::options().create(true).append(true).open(folder.join(LOG)).map_err(failed)?;
        let mut keeper = Command::new("sh")
            .args(["-c", SCRIPT, "keeper", quit])
            .arg(folder)
            .arg(command.get_program())
            .args(command.get_args().collect::<Vec<&OsStr>>())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut said = String::new();
        if let Some(output) = keeper.stdout.take() {
            BufReader::new(output).read_line(&mut said).map_err(failed)?;
        }
        let Ok(server) = said.trim().parse() else {
            let _ = keeper.wait();
            return Err(Error::Failed { program: command.get_program().into(), said });
        };
        let input = keeper.stdin.take();
        Ok(Self { keeper, input, server })
    }

    /// The server's process id.
    pub(crate) fn server(&self) -> u32 {
        self.server
    }

    /// Kills the server and every process that it has started, and waits until they are gone.
    pub(crate) fn kill(mut self) -> Result<(), Error> {
        let children = format!("/proc/{0}/task/{0}/children", self.server);
        let children = std::fs::read_to_string(children).unwrap_or_default();
        self.signal("KILL")?;
        for child in children.split_ascii_whitespace() {
            // It may have ended with its parent.
            let _ = program::run(Path::new("kill"), Command::new("kill").args(["-s", "KILL", child]));
        }
        self.wait();
        while children.split_ascii_whitespace().any(is_running) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends the server by a signal that it heeds, and waits until it is gone.
    pub(crate) fn stop(mut self, signal: &str) -> Result<(), Error> {
        self.signal(signal)?;
        self.wait();
        Ok(())
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.keeper.try_wait(), Ok(None))
    }

    pub(crate) fn signal(&self, signal: &str) -> Result<(), Error> {
        program::run(Path::new("kill"), Command::new("kill").args(["-s", signal, &self.server.to_string()]))
    }

    /// Waits for the server to be gone.
    fn wait(&mut self) {
        let _ = self.keeper.wait();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.input.take());
        self.wait();
    }
}

/// Whether a process of this id runs. One that has ended may stay as a name until somebody asks for it.
#[must_use]
pub fn is_running(process: &str) -> bool {
    if process.is_empty() {
        return false;
    }
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}

/// The end of what a server printed.
pub(crate) fn last_words(folder: &Path) -> String {
    let said = std::fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}
