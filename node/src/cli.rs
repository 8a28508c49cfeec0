//! The command line. Data goes to stdout, talk to stderr.

mod copying;
mod health;
mod output;
mod status;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::Registry;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::{
    App, DataDirectory, Dev, Error, Role, Serve, Settings,
    error::chain,
    plain, roles,
    settings::{Origin, Shown, Values, keys},
    tls,
};
use copying::Storage;
pub use output::Output;

/// Exit codes beside 0.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const VIOLATION: u8 = 3;
const UNREACHABLE: u8 = 4;
/// As a shell reports a process that was ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(app: App) -> ExitCode {
    let App { name, registry, subcommands, examples } = app;
    let matches = command(name, &subcommands).get_matches();
    if let Err(error) = runtime::inherit_listeners() {
        return fail(&Error::Inherited(error));
    }
    let registry = match registry {
        Ok(registry) => Arc::new(registry),
        Err(error) => return fail(&Error::Registry(error)),
    };
    match matches.subcommand() {
        Some(("dev", arguments)) => dev(name, &registry, &examples, arguments),
        Some(("serve", arguments)) => serve(name, &registry, arguments),
        Some(("migrate", arguments)) => migrate(name, arguments),
        Some(("verify", arguments)) => verify(name, &registry, arguments),
        Some((verb @ ("move" | "backup" | "restore"), arguments)) => copy(name, verb, arguments),
        Some(("config", arguments)) => config(name, arguments),
        Some(("status", arguments)) => status(name, arguments),
        Some(("health", arguments)) => health(name, arguments),
        Some((verb, arguments)) => match subcommands.iter().find(|(command, _)| command.get_name() == verb) {
            Some((_, handler)) => handler(arguments),
            None => ExitCode::from(USAGE),
        },
        None => ExitCode::from(USAGE),
    }
}

fn command(name: &'static str, subcommands: &[(Command, crate::Handler)]) -> Command {
    let config = Arg::new("config").long("config").value_name("FILE").value_parser(value_parser!(PathBuf));
    let data = Arg::new("data").long("data").value_name("DIR").help("Directory of the data");
    let url = |flag: &'static str, help: &'static str| Arg::new(flag).long(flag).value_name("URL").help(help);
    let address = |flag: &'static str, help: &'static str| Arg::new(flag).long(flag).value_name("ADDR").help(help);
    let proxies = Arg::new("behind-tls-proxy")
        .long("behind-tls-proxy")
        .value_name("PEERS")
        .help("Proxies that end TLS before the interface, addresses and networks by commas; nobody else is let in");
    let dev = Command::new("dev")
        .about("Runs every box in this process, on embedded storage")
        .arg(data.clone())
        .arg(address("listen", "Where the interface is served [default: 127.0.0.1:8080]"))
        .arg(proxies.clone())
        .arg(address("admin", "Where status, metrics and health are served [default: 127.0.0.1:8081]"))
        .arg(config.clone().help("Settings in TOML"));
    let roles = Arg::new("role")
        .long("role")
        .value_name("ROLE")
        .value_parser(value_parser!(Role))
        .value_delimiter(',')
        .action(ArgAction::Append)
        .required(true)
        .help("A box that this process runs; may be given several times");
    let serve = Command::new("serve")
        .about("Runs some boxes in this process, beside others in other processes, on PostgreSQL and NATS")
        .arg(roles)
        .arg(address("listen", "Where the interface is served, by the load balancer [default: 127.0.0.1:8080]"))
        .arg(proxies)
        .arg(address("admin", "Where status, metrics and health are served [default: 127.0.0.1:8081]"))
        .arg(config.clone().help("Settings in TOML"));
    let migrate = Command::new("migrate")
        .about("Brings the two PostgreSQL databases up to this version; to be run before `serve`, and again after an upgrade")
        .arg(config.clone().help("Settings in TOML"));
    let verify = Command::new("verify")
        .about("Shows that log, rows and checkpoints agree; beside a running system or a stopped one")
        .arg(data.clone().help("Directory of the data [default: that of dev, where no databases are set]"))
        .arg(url("command-database", "PostgreSQL that has the log"))
        .arg(url("query-database", "PostgreSQL that has the rows"))
        .arg(config.clone().help("Settings in TOML, as for dev and serve"))
        .arg(Output::argument());
    let health = health::command().arg(config.clone().help("Settings in TOML"));
    let status = status::command().arg(config.clone().help("Settings in TOML")).arg(Output::argument());
    let show = Command::new("show")
        .about("Prints every setting, its value and where that comes from")
        .arg(config.clone().help("Settings in TOML"))
        .arg(Output::argument());
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Diptych application: commands in, read models out")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(dev)
        .subcommand(serve)
        .subcommand(migrate)
        .subcommand(status)
        .subcommand(health)
        .subcommand(verify)
        .subcommands(copying::commands(&config))
        .subcommand(Command::new("config").about("Settings").subcommand_required(true).subcommand(show))
        .subcommands(subcommands.iter().map(|(command, _)| command.clone()))
}

fn report(error: &Error) {
    eprintln!("error: {}", chain(error));
}

fn fail(error: &Error) -> ExitCode {
    report(error);
    match error {
        Error::Settings(_) | Error::NotLoopback { .. } | Error::Registry(_) | Error::Url { .. } | Error::Tls(_) => {
            ExitCode::from(USAGE)
        }
        error if error.is_unreachable() => ExitCode::from(UNREACHABLE),
        _ => ExitCode::from(FAILED),
    }
}

/// `$XDG_DATA_HOME/<application>`, or what that is where it is not set.
fn default_data(name: &str) -> String {
    let home = std::env::var("XDG_DATA_HOME").ok().filter(|path| Path::new(path).is_absolute());
    let base =
        home.map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var("HOME").ok()?).join(".local/share")));
    base.unwrap_or_else(|| PathBuf::from(".")).join(name).to_string_lossy().into_owned()
}

pub(crate) fn settings(name: &str, arguments: &ArgMatches, flags: &[(&str, &str)]) -> Result<(Settings, Shown), Error> {
    let given = |flag: &str| arguments.try_get_one::<String>(flag).ok().flatten().cloned();
    let flags: Values = flags.iter().filter_map(|(flag, key)| Some(((*key).to_owned(), given(flag)?))).collect();
    let file = arguments.try_get_one::<PathBuf>("config").ok().flatten();
    Settings::load(&default_data(name), file.map(PathBuf::as_path), std::env::vars(), &flags)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = output::is_coloured(std::io::stderr().is_terminal(), |name| std::env::var(name).ok());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A test or an application that has its own keeps it.
    let _ = subscriber.try_init();
}

/// Flags of the processes' listeners, and the settings that they are.
const LISTENERS: [(&str, &str); 3] = [
    ("listen", "load_balancer.listen"),
    ("admin", "admin.listen"),
    ("behind-tls-proxy", "load_balancer.behind_tls_proxy"),
];

fn dev(name: &'static str, registry: &Arc<Registry>, examples: &[&'static str], arguments: &ArgMatches) -> ExitCode {
    let flags: Vec<_> = [("data", "data")].into_iter().chain(LISTENERS).collect();
    let settings = match settings(name, arguments, &flags) {
        Ok((settings, _)) => settings,
        Err(error) => return fail(&error),
    };
    log_to_stderr();
    let threads = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(threads) => threads,
        Err(error) => return fail(&Error::Threads(error)),
    };
    let ended = threads.block_on(async {
        let dev = Dev::start(name, registry.clone(), &settings).await?;
        let welcome = welcome(name, settings.load_balancer.scheme(), &dev, examples);
        let running = dev.run_until_signal();
        println!("{welcome}");
        running.await;
        Ok(())
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Runs `work` on threads of its own, and says what went wrong.
fn on_threads(work: impl Future<Output = Result<(), Error>>) -> ExitCode {
    let threads = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(threads) => threads,
        Err(error) => return fail(&Error::Threads(error)),
    };
    match threads.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn serve(name: &'static str, registry: &Arc<Registry>, arguments: &ArgMatches) -> ExitCode {
    let settings = match settings(name, arguments, &LISTENERS) {
        Ok((settings, _)) => settings,
        Err(error) => return fail(&error),
    };
    let roles: Vec<Role> = arguments.get_many("role").into_iter().flatten().copied().collect();
    log_to_stderr();
    on_threads(async {
        let serve = Serve::start(name, registry.clone(), &settings, &roles).await?;
        let mut lines = vec![format!(
            "{name} runs {} in this process.",
            roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
        )];
        for role in &roles {
            lines.extend(serve.address(*role).map(|address| format!("  {:15} {address}", role.name())));
        }
        lines.push(format!("  {:15} http://{}/status", "admin", serve.admin_address()));
        let running = serve.run_until_signal();
        println!("{}", lines.join("\n"));
        running.await;
        Ok(())
    })
}

fn migrate(name: &'static str, arguments: &ArgMatches) -> ExitCode {
    let settings = match settings(name, arguments, &[]) {
        Ok((settings, _)) => settings,
        Err(error) => return fail(&error),
    };
    if let Err(error) = plain::check(&settings) {
        return fail(&error);
    }
    let databases = match tls::Databases::read(&settings) {
        Ok(databases) => databases,
        Err(error) => return fail(&error),
    };
    log_to_stderr();
    on_threads(async {
        roles::command_database::migrate(&settings.command_database, databases.log.as_ref()).await?;
        println!("the Command Database is up to date");
        roles::query_database::migrate(&settings.query_database, databases.rows.as_ref()).await?;
        println!("the Query Database is up to date");
        Ok(())
    })
}

fn welcome(name: &str, scheme: &str, dev: &Dev, examples: &[&'static str]) -> String {
    let api = format!("{scheme}://{}", dev.api_address());
    let next = (dev.events_at_start() + 1).to_string();
    let mut lines = vec![
        format!("{name} is running: every box of the diagram, in this process."),
        format!("  API     {api}"),
        format!("  admin   http://{}/status", dev.admin_address()),
        format!("  data    {}", dev.data().display()),
    ];
    if !examples.is_empty() {
        lines.push("Try, in another terminal:".to_owned());
        lines.extend(
            examples.iter().map(|example| format!("  {}", example.replace("$API", &api).replace("$NEXT", &next))),
        );
    }
    lines.push("Stop with Ctrl-C; nothing that was acknowledged is lost, however it stops.".to_owned());
    lines.join("\n")
}

fn verify(name: &'static str, registry: &Arc<Registry>, arguments: &ArgMatches) -> ExitCode {
    let flags =
        [("data", "data"), ("command-database", "command_database.url"), ("query-database", "query_database.url")];
    let settings = settings(name, arguments, &flags);
    let report = settings.and_then(|(settings, shown)| match Storage::of(&settings, &shown) {
        Storage::Embedded => {
            let data = Path::new(&settings.data);
            DataDirectory::check(data, name)?;
            Ok(verify::run(&DataDirectory::log(data), &DataDirectory::rows(data), registry)?)
        }
        Storage::Servers => verify_servers(&settings, registry),
    });
    let report = match report {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    let code = if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(VIOLATION) };
    output::print_last(&Output::of(arguments).one(&report), code)
}

fn verify_servers(settings: &Settings, registry: &Registry) -> Result<verify::Report, Error> {
    plain::check(settings)?;
    if settings.query_database.url.is_empty() {
        let wanted =
            "query_database.url (--query-database) is not set, and command_database.url is: name both, or --data";
        return Err(Error::Settings(wanted.to_owned()));
    }
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let threads = threads.map_err(Error::Threads)?;
    let tls::Databases { log, rows } = tls::Databases::read(settings)?;
    let mut log = roles::command_database::scan(&settings.command_database, log.as_ref(), threads.handle())?;
    let rows = roles::query_database::scan(&settings.query_database, rows.as_ref(), threads.handle())?;
    Ok(verify::run_on(&mut log, rows, registry)?)
}

/// The verbs that copy a log.
fn copy(name: &'static str, verb: &str, arguments: &ArgMatches) -> ExitCode {
    log_to_stderr();
    copying::run(name, verb, arguments).unwrap_or_else(|error| fail(&error))
}

fn status(name: &'static str, arguments: &ArgMatches) -> ExitCode {
    match settings(name, arguments, &[]) {
        Ok((settings, _)) => status::run(arguments, &format!("http://{}", settings.admin.listen)),
        Err(error) => fail(&error),
    }
}

fn health(name: &'static str, arguments: &ArgMatches) -> ExitCode {
    match settings(name, arguments, &[]) {
        Ok((settings, _)) => health::run(arguments, settings.admin.listen),
        Err(error) => fail(&error),
    }
}

/// In the place of a value that only the process is to know.
const MASKED: &str = "********";

/// One setting, as `config show` prints it.
#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
    source: Origin,
    meaning: &'static str,
}

fn config(name: &'static str, arguments: &ArgMatches) -> ExitCode {
    let Some(("show", arguments)) = arguments.subcommand() else {
        return ExitCode::from(USAGE);
    };
    let shown = match settings(name, arguments, &[]) {
        Ok((_, shown)) => shown,
        Err(error) => return fail(&error),
    };
    let setting = |(key, (value, source)): (String, (String, Origin))| {
        let meaning = keys::find(&key).map_or("", |key| key.meaning);
        let is_secret = keys::find(&key).is_some_and(|key| key.is_secret);
        let value = if is_secret && !value.is_empty() { MASKED.to_owned() } else { value };
        Setting { key, value, source, meaning }
    };
    let settings: Vec<_> = shown.into_iter().map(setting).collect();
    let table = || {
        let line = |Setting { key, value, source, meaning }: &Setting| {
            format!("{key} = {value}  ({})\n    {meaning}\n", format!("{source:?}").to_lowercase())
        };
        settings.iter().map(line).collect()
    };
    output::print_last(&Output::of(arguments).many(&settings, table), ExitCode::SUCCESS)
}
