//! What the operator's listener says to those who ask it for something else.

use testkit::domain;

use crate::system::System;

#[test]
fn a_problem_lists_the_pages_and_links_to_one_that_exists() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path(), domain::registry(), |_| {});
    for (method, path, status, says) in [
        ("POST", "/commands/account/a-1/open", "404", "commands and queries go to http://"),
        ("GET", "/", "404", "GET /status, /metrics"),
        ("PUT", "/status", "405", "GET /status, /metrics"),
    ] {
        let answer = system.administer_wrongly(method, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(says), "{says}: {answer}");
        let page = answer.split("\"type\":\"http://").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
        let (_, path) = page.split_once('/').expect("an address and a path");
        assert!(system.ask("GET", &format!("/{path}"), "", "").starts_with("HTTP/1.1 200"), "{page}");
    }
    system.stop();
}
