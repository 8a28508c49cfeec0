//! What a service manager hears of the process, on a socket of the test's own, and what it hands over: sd_notify(3) and
//! sd_listen_fds(3).

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    client::Client,
    system::{shop, terminate},
};

const PATIENCE: Duration = Duration::from_secs(60);
const ORDER: &str =
    r#"{"country":"France","lines":[{"stock_code":"tea-100","quantity":2,"price":"4.500","time":"2026-11-23T10:00"}]}"#;

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket's time");
        Self { socket, folder }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn start(&self, command: &mut Command) -> Child {
        let command = command.env("NOTIFY_SOCKET", self.folder().join("notify"));
        command.stdout(Stdio::null()).spawn().expect("the shop starts")
    }

    /// What is said next, one `NAME=VALUE` a line; nothing where nobody speaks for a while.
    fn hear(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap_or(0);
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    /// All that is said until a line begins so, that one last.
    fn hear_until(&self, beginning: &str) -> Vec<String> {
        let (began, mut heard) = (Instant::now(), Vec::<String>::new());
        while !heard.iter().any(|line| line.starts_with(beginning)) {
            assert!(began.elapsed() < PATIENCE, "not within a minute: {beginning}; {heard:?}");
            heard.extend(self.hear());
        }
        heard
    }
}

/// Ends with whoever started it.
struct Started(Child);

impl Started {
    fn wait(mut self) -> ExitStatus {
        self.0.wait().expect("gone")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_manager_hears_that_it_is_there_that_it_runs_and_that_it_ends() {
    let _alone = super::alone();
    let manager = Manager::new();
    let data = manager.folder().join("data");
    let mut command = shop();
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(&data);
    command.env("WATCHDOG_USEC", "300000");
    let process = Started(manager.start(&mut command));

    let heard = manager.hear_until("READY=1");
    assert!(!heard.iter().any(|line| line == "WATCHDOG=1"), "before it is there it cannot be late: {heard:?}");
    assert!(heard.iter().any(|line| line.starts_with("STATUS=")), "{heard:?}");
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    terminate(&process.0);
    manager.hear_until("STOPPING=1");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_watchdog_that_does_not_ask_hears_nothing() {
    let _alone = super::alone();
    let manager = Manager::new();
    let data = manager.folder().join("data");
    let mut command = shop();
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(&data);
    // Of another process: what that one was granted is not this one's business.
    command.env("WATCHDOG_USEC", "30000").env("WATCHDOG_PID", "1");
    let process = Started(manager.start(&mut command));
    let mut heard = manager.hear_until("STATUS=ready");
    terminate(&process.0);
    heard.extend(manager.hear_until("STOPPING=1"));
    assert!(!heard.iter().any(|line| line == "WATCHDOG=1"), "{heard:?}");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_service_manager_hears_what_is_still_missing() {
    let _alone = super::alone();
    let manager = Manager::new();
    let mut command = shop();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").to_string();
    command.args(["serve", "--role", "query-service", "--admin", &free]);
    // The discard service's port, which nobody has listened on for decades.
    command.env("DIPTYCH__QUERY_DATABASE__URL", "postgres://nobody@127.0.0.1:9/rows");
    command.env("DIPTYCH__QUERY_SERVICE__LISTEN", "127.0.0.1:0");
    command.env("DIPTYCH__QUERY_SERVICE__PAGE_TOKEN_KEY", "07".repeat(32));
    command.env("DIPTYCH__DRAIN_DELAY_SECONDS", "0");
    let process = Started(manager.start(&mut command));
    let heard = manager.hear_until("STATUS=not yet so: the Query Database is reached by the query-service");
    assert!(heard.iter().any(|line| line == "READY=1"), "its listeners are open: {heard:?}");
    let probe = shop().env("DIPTYCH__ADMIN__LISTEN", &free).arg("health").output().expect("the shop runs");
    let said = String::from_utf8_lossy(&probe.stdout);
    assert_eq!(probe.status.code(), Some(1), "{said}");
    assert!(said.contains("the Query Database is reached by the query-service: not ready"), "{said}");
    terminate(&process.0);
    manager.hear_until("STOPPING=1");
    assert_eq!(process.wait().code(), Some(0));
}

/// Starts the shop as a service manager does that has opened its socket before: it is the third file of the process.
fn start_on(listener: &TcpListener, data: &Path) -> Started {
    let socket = OwnedFd::from(listener.try_clone().expect("another one"));
    let address = listener.local_addr().expect("its address").to_string();
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 </dev/null; exec env LISTEN_FDS=1 LISTEN_PID="$$" "$@""#, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_shop")).args(["dev", "--listen", &address, "--admin", "127.0.0.1:0", "--data"]);
    Started(command.arg(data).stdin(Stdio::from(socket)).stdout(Stdio::null()).spawn().expect("the shop starts"))
}

#[test]
fn a_socket_that_was_handed_over_refuses_nobody_while_one_process_follows_another() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let place = move |id: &str| {
        let path = format!("/commands/order/{id}/place");
        std::thread::spawn(move || Client::new(address).post(&path, &[], ORDER).expect("answered"))
    };

    // Before anybody serves: it waits in the queue of the socket.
    let placed = place("o-1");
    let first = start_on(&listener, directory.path());
    assert_eq!(placed.join().expect("no panic").status, 201);
    terminate(&first.0);
    assert_eq!(first.wait().code(), Some(0));

    let placed = place("o-2");
    let second = start_on(&listener, directory.path());
    assert_eq!(placed.join().expect("no panic").status, 201);
    terminate(&second.0);
    assert_eq!(second.wait().code(), Some(0));
}
