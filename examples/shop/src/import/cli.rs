use std::{
    error::Error as _,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Arg, ArgMatches, Command, value_parser};
use diptych::{Output, Settings};
use http::HeaderValue;
use tokio::{runtime, signal};

use super::{
    Error, caught_up,
    front_door::FrontDoor,
    report::{Report, Summary},
    sending::Sending,
};
use crate::feed::{Feed, Import, submissions};

/// As a shell reports a process that was ended by Ctrl-C.
const INTERRUPTED: u8 = 130;
/// In less time a speed is an accident.
const RATE_TIME_MIN: Duration = Duration::from_millis(100);

/// The subcommand `import`, which [`run`] handles.
#[must_use]
pub fn command() -> Command {
    Command::new("import")
        .about("Sends a feed to a running shop, one command an invoice; may be interrupted and run again")
        .arg(
            Arg::new("feed")
                .value_name("FILE.csv[.gz]")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The feed: Online Retail II as CSV, or what `shop feed` writes"),
        )
        .arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .help("Where the shop is [default: http:// and the setting load_balancer.listen]"),
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Settings in TOML, as for dev"),
        )
        .arg(
            Arg::new("refused")
                .long("refused")
                .value_name("FILE.csv")
                .value_parser(value_parser!(PathBuf))
                .help("Where to list refused lines [default: the feed's name with .refused.csv, in this directory]"),
        )
        .arg(
            Arg::new("concurrency")
                .long("concurrency")
                .value_name("N")
                .value_parser(value_parser!(u16).range(1..=1024))
                .default_value("64")
                .help("How many commands are under way at a time"),
        )
        .arg(Output::argument())
}

/// Does what the arguments of [`command`] ask for: 0 when every line went in, was there as it is in the feed, or was refused by
/// a rule.
#[must_use]
pub fn run(arguments: &ArgMatches) -> ExitCode {
    match import(arguments) {
        Ok(code) => code,
        Err(error) => {
            print_chain(&error);
            error.exit_code()
        }
    }
}

fn import(arguments: &ArgMatches) -> Result<ExitCode, Error> {
    let path = arguments.get_one::<PathBuf>("feed").cloned().unwrap_or_default();
    let url = match arguments.get_one::<String>("url") {
        Some(url) => url.clone(),
        None => format!("http://{}", Settings::of("shop", arguments)?.load_balancer.listen),
    };
    let concurrency = arguments.get_one::<u16>("concurrency").copied().map_or(1, usize::from);
    let refused = arguments.get_one::<PathBuf>("refused").cloned().unwrap_or_else(|| refused_path(&path));
    let door = FrontDoor::new(&url, concurrency)?;
    let import = submissions(Feed::open(&path)?)?;
    // One thread is plenty for a client, and leaves the others to a shop on the same machine.
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Error::Start { source })?.block_on(send(
        door,
        import,
        concurrency,
        &refused,
        Output::of(arguments),
    ))
}

/// Where and how long, for the last lines of the summary.
struct Times {
    sending: Duration,
    catching_up: Option<Duration>,
}

async fn send(
    door: FrontDoor,
    import: Import,
    concurrency: usize,
    refused: &Path,
    output: Output,
) -> Result<ExitCode, Error> {
    let sending = Arc::new(Sending::new(door, import.submissions));
    sending.with_report(|report| import.refused.iter().for_each(|line| report.refused(line)));
    let interrupts = tokio::spawn(stop_at_interrupt(sending.clone()));
    let started = Instant::now();
    let sent = sending.run(concurrency).await;
    let mut times = Times { sending: sending.answered_after(started), catching_up: None };
    let settled = match sent {
        Ok(tokens) => settle(&sending, &tokens, &mut times).await,
        Err(error) => Err(error),
    };
    let interrupted = interrupts.is_finished();
    interrupts.abort();
    // Whatever happened: what is known is said first.
    let is_well = summarise(&sending, &times, refused, output)?;
    settled?;
    if interrupted {
        eprintln!("interrupted: run it again, and what is there already is passed over");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn settle(sending: &Sending, tokens: &[HeaderValue], times: &mut Times) -> Result<(), Error> {
    if sending.is_stopped() {
        return Ok(());
    }
    let started = Instant::now();
    if caught_up::wait(sending, tokens).await? {
        times.catching_up = Some(started.elapsed());
    }
    Ok(())
}

/// Ends after the first interrupt has stopped the sending; a second one stops the process.
async fn stop_at_interrupt(sending: Arc<Sending>) {
    if signal::ctrl_c().await.is_err() {
        // Then the system's default holds, which is to stop at once.
        std::future::pending::<()>().await;
    }
    sending.stop();
    tokio::spawn(async {
        if signal::ctrl_c().await.is_ok() {
            process::exit(INTERRUPTED.into());
        }
    });
}

/// Prints the summary and writes the refused lines; returns whether the log has what the feed says, as far as rules allow.
fn summarise(sending: &Sending, times: &Times, refused: &Path, output: Output) -> Result<bool, Error> {
    sending.with_report(|report: &mut Report| {
        let seconds = times.sending.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for people, to a whole command a second")]
        let rate = |answers: u64| answers as f64 / seconds;
        // A speed of the first moment, or of an import that was turned away, says nothing.
        let tells = seconds >= RATE_TIME_MIN.as_secs_f64() && report.failures() == 0 && report.answers() > 0;
        let path = refused.to_owned();
        let written = report.write_refused(refused);
        let refused_lines = written.as_ref().copied().unwrap_or_default();
        let summary = Summary {
            rows: report.rows(&sending.submissions),
            sent_in_seconds: seconds,
            commands_per_second: tells.then(|| rate(report.answers())),
            caught_up_after_seconds: times.catching_up.map(|time| time.as_secs_f64()),
            refused_lines,
            refused_lines_in: (refused_lines > 0).then(|| path.clone()),
        };
        print!("{}", output.one(&summary));
        written.map_err(|source| Error::Refused { path: path.clone(), source })?;
        report.failure_details().for_each(|detail| eprintln!("error: {detail}"));
        let differences = report.differences();
        if differences > 0 {
            eprintln!(
                "error: {differences} invoices are there already and say something else than the feed: nothing of them was \
                 written, their lines are in {}",
                path.display()
            );
        }
        Ok(report.failures() == 0 && differences == 0)
    })
}

/// `online-retail.csv.gz` → `online-retail.refused.csv`, in the current directory.
fn refused_path(feed: &Path) -> PathBuf {
    let name = feed.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    PathBuf::from(format!("{}.refused.csv", stem.strip_suffix(".csv").unwrap_or(stem)))
}

/// The error and its causes in one line.
fn print_chain(error: &Error) {
    eprint!("error: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        eprint!(": {source}");
        cause = source.source();
    }
    eprintln!();
}
