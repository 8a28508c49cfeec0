//! The application that drills are held with, accounts and their ledger, and the drills as verbs of it.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use diptych::{App, Output};
use drill::{Drill, Options, Stage, Trouble};
use testkit::domain::{Account, Ledger};

const FAILED: u8 = 1;
const VIOLATION: u8 = 3;

fn main() -> ExitCode {
    App::new("drill").aggregate::<Account>().projection::<Ledger>().subcommand(command(), run).run()
}

fn command() -> Command {
    let usual = Options::default();
    let number = |name: &'static str, help: String| {
        Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u32).range(1..=10_000)).help(help)
    };
    let names = Drill::ALL.map(Drill::name);
    let table = Drill::ALL.map(|drill| format!("{:13} {}", drill.name(), drill.about())).join("\n");
    Command::new("run")
        .about("Starts a whole system of processes on this machine, and drills it")
        .after_help(table)
        .arg(Arg::new("drill").value_name("DRILL").value_parser(names).required(true).help("Which drill"))
        .arg(number("seconds", format!("How long a fault or a measurement lasts [default: {}]", usual.span.as_secs())))
        .arg(number("rate", format!("Commands a second [default: {}]", usual.rate)))
        .arg(number("clients", format!("Clients at once, in two-writers [default: {}]", usual.clients)))
        .arg(Output::argument())
}

fn run(arguments: &ArgMatches) -> ExitCode {
    match drilled(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(VIOLATION),
        Err(trouble) => {
            eprintln!("error: the drill could not be carried out: {trouble}");
            ExitCode::from(FAILED)
        }
    }
}

/// Whether everything holds.
fn drilled(arguments: &ArgMatches) -> Result<bool, Trouble> {
    let name = arguments.get_one::<String>("drill").map_or("", |name| name);
    let drill = Drill::ALL.into_iter().find(|drill| drill.name() == name).ok_or("there is no such drill")?;
    let number = |name: &str| arguments.get_one::<u32>(name).copied();
    let mut options = Options::default();
    if let Some(seconds) = number("seconds") {
        options.span = std::time::Duration::from_secs(seconds.into());
    }
    options.rate = number("rate").unwrap_or(options.rate);
    options.clients = number("clients").map_or(options.clients, |clients| clients as usize);
    eprintln!("starting a Command Database, a Query Database, three NATS servers and the services");
    let mut stage = Stage::start(&std::env::current_exe()?)?;
    eprintln!("{}: {}", drill.name(), drill.about());
    let report = drill.run(&mut stage, options)?;
    print!("{}", Output::of(arguments).one(&report));
    Ok(report.violations().next().is_none())
}
