//! A whole system on this machine: `cluster up` starts it, `cluster down` removes it.
#![allow(clippy::disallowed_methods, reason = "a tool of its own, outside of what the simulator owns")]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use cluster::{Part, System, is_running};

const UP_WAIT: Duration = Duration::from_secs(180);
const DOWN_WAIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(verb: &str) -> ExitCode {
    let done = match verb {
        "up" => up(),
        "down" => down(),
        "hold" => hold(),
        _ => Err(format!("{verb:?} is neither `up` nor `down`")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("cluster: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Where it is noted that one runs: beside what Cargo builds.
struct Notes {
    folder: PathBuf,
}

impl Notes {
    fn new() -> Result<Self, String> {
        Ok(Self { folder: built()?.join("cluster") })
    }

    /// The process that holds the system.
    fn holder(&self) -> PathBuf {
        self.folder.join("holder")
    }

    /// What runs where; there once all of it does.
    fn table(&self) -> PathBuf {
        self.folder.join("table")
    }

    /// Process ids, one a line.
    fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// The folder that Cargo builds into: this program lies in `debug` in it.
pub(crate) fn built() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let folder = program.parent().and_then(Path::parent);
    folder.map(Path::to_owned).ok_or_else(|| format!("{} lies in no folder of Cargo's", program.display()))
}

pub(crate) fn failed(what: &str) -> impl Fn(io::Error) -> String {
    let what = what.to_owned();
    move |error| format!("{what}: {error}")
}

fn up() -> Result<(), String> {
    let notes = Notes::new()?;
    if notes.folder.exists() {
        return Err("one is up already, or was not taken down: `cargo xtask cluster down` removes it".to_owned());
    }
    crate::test::install_missing()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let shop = Command::new(cargo).args(["build", "--release", "--locked", "--package", "shop"]).status();
    if !shop.is_ok_and(|status| status.success()) {
        return Err("the shop does not build".to_owned());
    }
    fs::create_dir_all(&notes.folder).map_err(failed("cannot make notes"))?;
    let log = fs::File::create(notes.log()).map_err(failed("cannot make a log"))?;
    let program = env::current_exe().map_err(failed("cannot find this program"))?;
    // A session of its own: it goes on when this terminal is closed.
    let mut holder = Command::new("setsid")
        .arg(program)
        .args(["cluster", "hold"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(failed("cannot run setsid"))?;
    let began = Instant::now();
    while began.elapsed() < UP_WAIT {
        if let Ok(table) = fs::read_to_string(notes.table()) {
            println!("{table}");
            return Ok(());
        }
        if let Ok(Some(_)) = holder.try_wait() {
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    let said = fs::read_to_string(notes.log()).unwrap_or_default();
    // What has started ends with its holder.
    let _ = holder.kill();
    let _ = holder.wait();
    let _ = fs::remove_dir_all(&notes.folder);
    Err(format!("it did not come up: {}", said.trim()))
}

/// Starts everything and holds it until this process is ended; all of it ends with it, by whatever death.
fn hold() -> Result<(), String> {
    let notes = Notes::new()?;
    fs::write(notes.holder(), std::process::id().to_string()).map_err(failed("cannot make notes"))?;
    let system = System::start(&built()?.join("release/shop")).map_err(|error| error.to_string())?;
    let parts = system.parts();
    let processes: Vec<String> = parts.iter().filter_map(|part| Some(part.process?.to_string())).collect();
    fs::write(notes.processes(), processes.join("\n")).map_err(failed("cannot make notes"))?;
    // Made whole under another name, since it is what is waited for.
    let draft = notes.folder.join("table.new");
    fs::write(&draft, table(&system.api(), &parts)).map_err(failed("cannot make notes"))?;
    fs::rename(draft, notes.table()).map_err(failed("cannot make notes"))?;
    loop {
        thread::park();
    }
}

fn table(api: &str, parts: &[Part]) -> String {
    let mut lines = vec![format!("{:25} {:42} {:16} {:>8}  files", "box", "address", "admin", "process")];
    lines.extend(parts.iter().map(|part| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let process = part.process.map_or_else(|| "-".to_owned(), |process| process.to_string());
        let (address, admin) = (text(&part.address), text(&part.admin));
        format!("{:25} {address:42} {admin:16} {process:>8}  {}", part.name, part.folder.display())
    }));
    lines.push(String::new());
    lines.push(format!("The interface is {api}. Try, with the shop's feed:"));
    lines.push("  cargo run --release -p shop -- feed --seed 1 --invoices 500 > feed.csv".to_owned());
    lines.push(format!("  cargo run --release -p shop -- import feed.csv --url {api}"));
    lines.push("`cargo xtask cluster down` removes all of it.".to_owned());
    lines.join("\n")
}

fn down() -> Result<(), String> {
    let notes = Notes::new()?;
    if !notes.folder.exists() {
        return Err("none is up".to_owned());
    }
    let holder = fs::read_to_string(notes.holder()).unwrap_or_default();
    // Its number may be another process's by now: only one that is this program is ended.
    if is_ours(&holder) {
        let killed = Command::new("kill").args(["-s", "TERM", holder.trim()]).status();
        if !killed.is_ok_and(|status| status.success()) {
            return Err(format!("process {holder} cannot be ended"));
        }
    }
    let processes = fs::read_to_string(notes.processes()).unwrap_or_default();
    let began = Instant::now();
    while processes.lines().chain([holder.trim()]).any(is_running) {
        if began.elapsed() > DOWN_WAIT {
            return Err(format!("not everything has ended; the processes were {}", processes.replace('\n', ", ")));
        }
        thread::sleep(LOOK_EVERY);
    }
    fs::remove_dir_all(&notes.folder).map_err(failed("cannot remove the notes"))?;
    println!("everything has ended, and its files are removed");
    Ok(())
}

fn is_ours(process: &str) -> bool {
    let line = fs::read_to_string(format!("/proc/{}/cmdline", process.trim())).unwrap_or_default();
    line.contains("cluster\0hold")
}
