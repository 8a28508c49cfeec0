//! What happens when the disk fails under a log.

use std::{
    io::Write,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
};

use command_database::{EventStore, ReadLimit, SqliteConfig, SqliteEventStore};
use runtime::Runtime;
use testkit::conformance::event_store::Request;

use crate::given::Given;

const LOG: &str = "DIPTYCH_TEST_LOG";

#[tokio::test]
async fn a_write_that_fails_ends_the_process_and_loses_nothing_acknowledged() {
    let given = Given::on(Runtime::tokio());
    drop(given.open());
    // Writes beyond a file size of some 2 MB fail; without the trap the system itself would end the process.
    let script =
        "trap '' XFSZ; ulimit -f 2048; exec \"$0\" fatal::appends_until_the_disk_fails --exact --ignored --nocapture";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .env(LOG, given.path())
        .stderr(Stdio::null())
        .output()
        .expect("a process of its own");
    assert_eq!(child.status.signal(), Some(6), "it aborts: {:?}", child.status);
    let acknowledged = String::from_utf8_lossy(&child.stdout).matches("acknowledged").count();
    let store = given.open();
    let mut events = 0;
    let mut after = None;
    loop {
        let read = store.read(after, ReadLimit::default()).await.expect("a read");
        let Some(last) = read.last() else { break };
        (events, after) = (events + read.len(), Some(last.position));
    }
    assert!(acknowledged > 10 && events >= acknowledged, "{acknowledged} acknowledged, {events} there");
    store.append(vec![given.append("a", "and on it goes")]).await.expect("an append");
}

/// The other process of the test above, with a limit on how long a file may be.
#[tokio::test]
#[ignore = "is run by another test"]
async fn appends_until_the_disk_fails() {
    let Ok(path) = std::env::var(LOG) else { return };
    let runtime = Runtime::tokio();
    let store = SqliteEventStore::open(Path::new(&path), &runtime, SqliteConfig::default()).expect("the log opens");
    for _ in 0..100_000 {
        let request = Request::new(&runtime, "a").event("x".repeat(10_000));
        store.append(vec![request.build()]).await.expect("the process ends before an error returns");
        let mut out = std::io::stdout();
        writeln!(out, "acknowledged").and_then(|()| out.flush()).expect("somebody reads it");
    }
}
