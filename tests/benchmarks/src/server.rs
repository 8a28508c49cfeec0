//! Servers as processes of their own, on free ports, in temporary folders; ended when dropped.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where it answers.
    pub address: SocketAddr,
}

/// The path of one of the workspace's binaries, built with the same profile as the caller.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let mut directory = std::env::current_exe().expect("the path of this program");
    while directory.pop() {
        let path = directory.join(name);
        if path.is_file() {
            return path;
        }
    }
    panic!("{name} is not built: run `cargo build --release --workspace --bins` first");
}

impl Server {
    /// Starts `program` and waits for the line `listening on ADDRESS`, or for `url_of` to find an address in a line.
    ///
    /// # Panics
    /// When it does not start within 30 s.
    #[must_use]
    pub fn start(program: &Path, arguments: &[&str], url_of: fn(&str) -> Option<SocketAddr>) -> Self {
        Self::start_with(program, arguments, &[], url_of)
    }

    /// The same, with variables in its environment.
    ///
    /// # Panics
    /// When it does not start within 30 s.
    #[must_use]
    pub fn start_with(
        program: &Path,
        arguments: &[&str],
        settings: &[(&str, String)],
        url_of: fn(&str) -> Option<SocketAddr>,
    ) -> Self {
        let mut process = Command::new(program)
            .args(arguments)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let output = process.stdout.take().expect("its output");
        let mut lines = BufReader::new(output).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| url_of(&line));
        let address = address.unwrap_or_else(|| panic!("{} said no address", program.display()));
        // Somebody has to read what else it says, or it blocks.
        std::thread::spawn(move || lines.for_each(drop));
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "{} does not answer", program.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, address }
    }

    /// The address in the line that a baseline begins with: for [`Server::start`].
    #[must_use]
    pub fn address_after_listening(line: &str) -> Option<SocketAddr> {
        line.strip_prefix("listening on ")?.parse().ok()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is to be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
