//! The verbs that copy a log: `move`, `backup`, `restore`. Each blocks a thread of its own, beside those that carry its
//! connections.

mod backup;
mod moving;
mod progress;
mod restore;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use command_database::PostgresConfig;
use runtime::Runtime;
use tokio::runtime::Handle;

use self::progress::Progress;
use super::{INTERRUPTED, output};
use crate::{
    Error, Settings, plain,
    roles::command_database::postgres_config,
    settings::{Origin, Shown},
    signals, tls,
};

/// What the verbs are called with; `config` is the flag that all have.
pub(super) fn commands(config: &Arg) -> [Command; 3] {
    let config = config.clone().help("Settings in TOML");
    let dry = Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Looks and says what would be done");
    let directory =
        Arg::new("from").long("from").value_name("DIR").help("Directory of the data [default: that of dev]");
    let url = "PostgreSQL that it goes to: postgres://USER@HOST:PORT/DATABASE [default: command_database.url]";
    let url = Arg::new("to").long("to").value_name("URL").help(url);
    let path = |flag, name, help| {
        Arg::new(flag).long(flag).value_name(name).required(true).value_parser(value_parser!(PathBuf)).help(help)
    };
    let place = "Directory, or postgres://USER@HOST:PORT/DATABASE [default: command_database.url, or where data is]";
    let place = Arg::new("to").long("to").value_name("PLACE").help(place);
    let data = "Directory of the data [default: command_database.url, or that of dev where it is not set]";
    let data = Arg::new("data").long("data").value_name("DIR").help(data);
    [
        Command::new("move")
            .about("Takes the log of a data directory to PostgreSQL, and seals the directory; goes on where it was")
            .args([directory, url, dry.clone(), config.clone()]),
        Command::new("backup").about("Copies the log into a file, beside a running system or a stopped one").args([
            path("to", "FILE", "File that is made, or a directory for it"),
            data,
            config.clone(),
        ]),
        Command::new("restore").about("Makes a log of a backup, in another life").args([
            path("from", "FILE", "The backup"),
            place,
            dry,
            config,
        ]),
    ]
}

/// Runs one of them.
pub(super) fn run(application: &'static str, verb: &str, arguments: &ArgMatches) -> Result<ExitCode, Error> {
    let is_dry = arguments.try_get_one::<bool>("dry-run").ok().flatten().copied().unwrap_or(false);
    let path = |flag| arguments.try_get_one::<PathBuf>(flag).ok().flatten().cloned().unwrap_or_default();
    match verb {
        "move" => {
            let flags = [("from", "data"), ("to", "command_database.url")];
            let (settings, _) = super::settings(application, arguments, &flags)?;
            Threads::run(|threads| moving::move_log(application, &settings, is_dry, threads))
        }
        "backup" => {
            let (settings, shown) = super::settings(application, arguments, &[("data", "data")])?;
            let storage = Storage::of(&settings, &shown);
            Threads::run(|threads| backup::backup(application, &settings, &storage, &path("to"), threads))
        }
        _ => {
            let to = arguments.get_one::<String>("to").is_some_and(|to| to.contains("://"));
            let key = if to { "command_database.url" } else { "data" };
            let (settings, shown) = super::settings(application, arguments, &[("to", key)])?;
            let storage = Storage::of(&settings, &shown);
            Threads::run(|threads| restore::restore(application, &settings, &storage, (&path("from"), is_dry), threads))
        }
    }
}

/// Where a log is.
pub(super) enum Storage {
    /// The data directory.
    Embedded,
    /// The databases that the settings name.
    Servers,
}

impl Storage {
    /// A directory that was named on the command line; otherwise the database that is set, or the directory where none is.
    pub(super) fn of(settings: &Settings, shown: &Shown) -> Self {
        let is_named = shown.get("data").is_some_and(|(_, origin)| *origin == Origin::Flag);
        if is_named || settings.command_database.url.is_empty() { Self::Embedded } else { Self::Servers }
    }
}

/// What a verb has beside its arguments.
pub(super) struct Threads {
    pub(super) handle: Handle,
    pub(super) runtime: Runtime,
    is_interrupted: Arc<AtomicBool>,
}

/// How a verb ended that went well.
pub(super) enum Ended {
    Done,
    /// By a signal, in order: what is not done can be done later.
    Interrupted,
}

impl Threads {
    /// Runs `work` on the caller's thread, with threads beside it for what waits. The first signal is heeded between two
    /// steps, the second one ends the process.
    pub(super) fn run(work: impl FnOnce(&Self) -> Result<Ended, Error>) -> Result<ExitCode, Error> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let noted = is_interrupted.clone();
        let runtime = {
            let _entered = threads.enter();
            let runtime = Runtime::tokio();
            let signals = signals::note_signal(move || noted.store(true, Ordering::Release));
            drop(runtime.spawn("signals", signals));
            runtime
        };
        let ended = work(&Self { handle: threads.handle().clone(), runtime, is_interrupted })?;
        Ok(match ended {
            Ended::Done => ExitCode::SUCCESS,
            Ended::Interrupted => ExitCode::from(INTERRUPTED),
        })
    }

    /// How a phase of the work is told of, and ended early.
    pub(super) fn progress(&self, phase: &'static str) -> Progress {
        Progress::new(phase, self.is_interrupted.clone())
    }

    pub(super) fn now(&self) -> i64 {
        self.runtime.wall_clock().as_microsecond()
    }
}

/// The log on PostgreSQL that the settings name.
fn postgres(settings: &Settings) -> Result<PostgresConfig, Error> {
    plain::check(settings)?;
    let databases = tls::Databases::read(settings)?;
    Ok(postgres_config(&settings.command_database, databases.log.as_ref()))
}

/// Makes an error of one of the log's.
fn copying(attempted: &'static str) -> impl Fn(command_database::Error) -> Error + Copy {
    move |source| Error::Copy { attempted, source }
}

/// Talk, whether anybody hears it or not: a copy does not end because its terminal has.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What was done, as a verb's data.
fn done(lines: &[String]) -> Ended {
    // It is done, whoever reads it.
    let _ = output::print(&format!("{}\n", lines.join("\n")));
    Ended::Done
}

fn interrupted(what_then: &str) -> Ended {
    say(&format!("interrupted: {what_then}"));
    Ended::Interrupted
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
