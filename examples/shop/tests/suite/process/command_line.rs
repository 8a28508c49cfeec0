//! The verbs: what they print for people and for programs, and what they exit with.

use std::{
    io::{BufRead, BufReader, Lines, Read},
    process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;

use super::{
    client::Client,
    system::{System, shop, terminate},
};
use crate::which_feed::made_up;

fn run(arguments: &[&str]) -> Output {
    shop().args(arguments).output().expect("the shop runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a verb printed in each of the three forms: text, one JSON value, and one JSON value a line.
fn in_every_form(arguments: &[&str]) -> (String, Value, Vec<Value>) {
    let printed = |form: &str| {
        let output = run(&[arguments, &["-o", form]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?} -o {form}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let lines =
        printed("ndjson").lines().map(|line| serde_json::from_str(line).expect("a JSON value a line")).collect();
    (printed("table"), serde_json::from_str(&printed("json")).expect("one JSON value"), lines)
}

fn place(system: &System, id: &str) {
    let line = r#"{"stock_code":"22041","quantity":2,"price":"2.100","time":"2009-12-01T07:45:00"}"#;
    let body = format!(r#"{{"country":"France","lines":[{line}]}}"#);
    let answer = system.client().post(&format!("/commands/order/{id}/place"), &[], &body).expect("placed");
    assert_eq!(answer.status, 201, "{}", answer.body);
    system.wait_until_caught_up();
}

/// `shop status --watch`, or any other verb that goes on until it is stopped.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: BufReader<ChildStderr>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the shop runs");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let said = BufReader::new(process.stderr.take().expect("its talk"));
        Self { process, lines, said }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it goes on").expect("text")
    }

    /// What Ctrl-C sends, and what it exits with.
    fn interrupt(mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
        self.process.wait().expect("gone").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn results_are_printed_as_a_table_as_one_value_and_as_a_value_a_line() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);
    place(&system, "o-1");
    let (admin, data) = (format!("http://{}", system.admin), data.display().to_string());

    let (table, value, lines) = in_every_form(&["status", "--url", &admin]);
    let row = table.lines().find(|line| line.starts_with("order_summary ")).expect("a line for each read model");
    assert!(row.ends_with("serves") && table.contains("head     1\n"), "{table}");
    assert_eq!((&value["head"], &value["projections"]), (&Value::from(1), &system.status()["projections"]));
    assert_eq!((lines.len(), &lines[0]["projections"]), (1, &value["projections"]));

    let (table, value, lines) = in_every_form(&["config", "show"]);
    assert!(table.contains("admin.listen = 127.0.0.1:8081  (default)\n    where status, "), "{table}");
    assert_eq!(value.as_array(), Some(&lines));
    assert!(lines.iter().any(|line| line["key"] == "admin.listen" && line["source"] == "default"), "{lines:?}");

    let (table, value, lines) = in_every_form(&["verify", "--data", &data]);
    assert!(table.contains("VERDICT: holds"), "{table}");
    assert_eq!((lines.len(), &value["holds"], &lines[0]["holds"]), (1, &true.into(), &true.into()));

    let feed = made_up(3, 20);
    let refused = directory.path().join("refused.csv").display().to_string();
    let path = feed.path.display().to_string();
    let api = format!("http://{}", system.api);
    // The first of the three finds nothing there, and the others all of it.
    let (table, value, lines) = in_every_form(&["import", &path, "--url", &api, "--refused", &refused]);
    let row = |summary: &Value, outcome: &str| {
        let rows = summary["rows"].as_array().expect("rows");
        rows.iter().find(|row| row["outcome"] == outcome).expect("a row")["invoices"].clone()
    };
    assert!(table.lines().any(|line| line.starts_with("already there ")), "{table}");
    assert!(row(&lines[0], "accepted").as_u64().is_some_and(|invoices| invoices >= 20), "{lines:?}");
    assert_eq!((lines.len(), row(&value, "already there")), (1, row(&lines[0], "accepted")));
    assert_eq!(system.stop(), Some(0));
}

#[test]
fn a_verb_that_fails_says_why_and_exits_with_what_kind_of_failure_it_is() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path());
    let (api, admin) = (format!("http://{}", system.api), format!("http://{}", system.admin));
    for (arguments, code, says) in [
        (&["status", "--url", "http://127.0.0.1:1"][..], 4, "cannot reach http://127.0.0.1:1/status"),
        (&["status", "--watch", "--url", "http://127.0.0.1:1"], 4, "cannot reach"),
        (&["status", "--url", "nonsense"], 2, "http://HOST:PORT"),
        (&["status", "--url", &api], 1, "answered 404"),
        (&["status", "--url", &admin, "-o", "yaml"], 2, "ndjson"),
        (&["verify", "--data", "/no/such/directory"], 1, "there is no directory /no/such/directory"),
        (&["verify", "--config", "/no/such/file"], 2, "/no/such/file"),
        (&["feed", "--out", "/no/such/directory/x.csv"], 1, "error: cannot write the feed to /no/such/directory/x.csv"),
        (&["dev", "--listen", "here:80"], 2, "--listen: \"here:80\" is no address: write IP:PORT"),
        (&["config", "show", "--config", "/no/such/file"], 2, "/no/such/file"),
        (&["nonsense"], 2, "nonsense"),
        (&[], 2, "Usage"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}: stdout is for data");
    }
    assert_eq!(system.stop(), Some(0));
}

#[test]
fn a_probe_asks_the_system_beside_it_and_exits_with_the_answer() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path());
    let admin = system.admin.to_string();
    let ask = |page: &str| {
        shop().env("DIPTYCH__ADMIN__LISTEN", &admin).args(["health", page]).output().expect("the shop runs")
    };
    for page in ["livez", "readyz", "startupz"] {
        let output = ask(page);
        assert_eq!(output.status.code(), Some(0), "{page}: {}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("ok\n"), "{page}: {}", text(&output.stdout));
    }
    assert_eq!(system.stop(), Some(0));
    let output = ask("readyz");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
}

#[test]
fn one_file_of_settings_is_all_that_the_verbs_need_to_find_the_system() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);
    let settings = directory.path().join("shop.toml");
    let (api, admin) = (system.api, system.admin);
    let text = format!("data = {data:?}\n[load_balancer]\nlisten = \"{api}\"\n[admin]\nlisten = \"{admin}\"\n");
    std::fs::write(&settings, text).expect("written");
    let (feed, refused) = (made_up(4, 20), directory.path().join("refused.csv"));
    let path = |path: &std::path::Path| path.display().to_string();
    let (feed, refused, settings) = (path(&feed.path), path(&refused), path(&settings));
    for arguments in [&["import", &feed, "--refused", &refused][..], &["status"], &["verify"]] {
        let output = run(&[arguments, &["--config", &settings]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text_of(&output));
    }
    assert_eq!(system.stop(), Some(0));
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn what_a_start_prints_to_be_pasted_has_a_number_that_is_free() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    for number in [1, 2] {
        let mut command = shop();
        command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(directory.path());
        let mut dev = Running::start(&mut command);
        let lines: Vec<String> =
            std::iter::from_fn(|| Some(dev.line())).take_while(|line| !line.starts_with("Stop")).collect();
        let place = format!("/commands/order/o-{number}/place");
        assert!(lines.iter().any(|line| line.contains(&place)), "{lines:?}");
        let api = lines[1].split("http://").nth(1).and_then(|address| address.parse().ok()).expect("an address");
        let line = r#"{"stock_code":"22041","quantity":2,"price":"2.100","time":"2009-12-01T07:45:00"}"#;
        let body = format!(r#"{{"country":"France","lines":[{line}]}}"#);
        let answer = Client::new(api).post(&place, &[], &body).expect("answered");
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(dev.interrupt(), Some(0));
    }
}

#[test]
fn a_watch_writes_one_status_after_the_other_until_it_is_interrupted() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path());
    // Without --url it looks where the settings say that the system is.
    let watch = |arguments: &[&str]| {
        let mut command = shop();
        command.env("DIPTYCH__ADMIN__LISTEN", system.admin.to_string()).args(["status", "--watch"]).args(arguments);
        Running::start(&mut command)
    };
    let mut programs = watch(&["-o", "ndjson"]);
    let mut people = watch(&[]);
    let head = |line: &str| serde_json::from_str::<Value>(line).expect("a JSON value a line")["head"].clone();
    assert_eq!(head(&programs.line()), 0);
    place(&system, "o-1");
    assert!((0..5).any(|_| head(&programs.line()) == 1), "the change is seen");
    assert_eq!(programs.interrupt(), Some(130));

    let mut pictures = 0;
    while pictures < 2 {
        let line = people.line();
        pictures += usize::from(line.starts_with("head"));
        assert!(!line.contains('\u{1b}'), "a pipe is no screen: {line:?}");
    }
    system.kill();
    let mut said = String::new();
    people.said.read_line(&mut said).expect("text");
    assert!(said.contains("cannot reach"), "it goes on, and says what is wrong: {said:?}");
    assert_eq!(people.interrupt(), Some(130));
}

#[test]
fn a_watch_ends_when_nobody_reads_it_any_more() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path());
    let url = format!("http://{}", system.admin);
    let mut process = shop()
        .args(["status", "--watch", "--url", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shop runs");
    drop(process.stdout.take());
    assert_eq!(process.wait().expect("gone").code(), Some(0));
    let mut said = String::new();
    process.stderr.take().expect("its talk").read_to_string(&mut said).expect("text");
    assert_eq!(said, "");
    assert_eq!(system.stop(), Some(0));
}

#[test]
fn talk_has_colours_on_a_terminal_or_when_they_are_asked_for_and_never_against_a_wish() {
    let _alone = super::alone();
    for (variables, coloured) in
        [(&[][..], false), (&[("CLICOLOR_FORCE", "1")], true), (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false)]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = shop();
        command.env("RUST_LOG", "info").envs(variables.iter().copied());
        command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(directory.path());
        let mut dev = Running::start(&mut command);
        while !dev.line().starts_with("Stop") {}
        terminate(&dev.process);
        let mut said = String::new();
        dev.said.read_to_string(&mut said).expect("text");
        let lines = ["log and read models are level", "draining", "stopped; everything is on disk"];
        assert!(lines.iter().all(|line| said.contains(line)), "{said}");
        assert_eq!(said.contains('\u{1b}'), coloured, "{variables:?}: {said:?}");
    }
}

#[test]
fn an_interrupt_lets_a_system_drain_and_end_well() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = shop();
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(directory.path());
    let mut dev = Running::start(&mut command);
    while !dev.line().starts_with("Stop") {}
    assert_eq!(dev.interrupt(), Some(0));
}
