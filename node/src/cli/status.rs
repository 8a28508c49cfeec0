//! `status`: what a running system says of itself.
#![allow(clippy::disallowed_methods, reason = "a client at the edge has tokio's timers")]

use std::{
    error::Error as StdError,
    fmt::{self, Write},
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use axum::body::{Body, to_bytes};
use clap::{Arg, ArgAction, ArgMatches, Command};
use http::{Request, StatusCode, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{INTERRUPTED, fail, output, output::Output, report};
use crate::Error;

/// Between two looks of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Puts the cursor at the top left and clears what is below: the next picture takes the place of the one before.
const REDRAW: &str = "\x1b[H\x1b[J";

pub(super) fn command() -> Command {
    Command::new("status")
        .about("Shows head, mode, alerts and read models of a running system")
        .arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .help("Admin listener of the system [default: http:// and the setting admin.listen]"),
        )
        .arg(
            Arg::new("watch").long("watch").action(ArgAction::SetTrue).help(
                "Looks every second until it is interrupted; redraws a terminal, and writes on where there is none",
            ),
        )
}

/// `default_url` is asked where the arguments name no other.
pub(super) fn run(arguments: &ArgMatches, default_url: &str) -> ExitCode {
    let url = arguments.get_one::<String>("url").map_or(default_url, String::as_str);
    let system = match System::at(url) {
        Ok(system) => system,
        Err(error) => return fail(&error),
    };
    let threads = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(threads) => threads,
        Err(error) => return fail(&Error::Threads(error)),
    };
    let output = Output::of(arguments);
    if arguments.get_flag("watch") {
        return threads.block_on(watch(&system, output));
    }
    match threads.block_on(system.status()) {
        Ok(status) => output::print_last(&output.one(&status), ExitCode::SUCCESS),
        Err(error) => fail(&error),
    }
}

/// Shows one status after the other until it is interrupted. A system that is there at first may go and come back.
async fn watch(system: &System, output: Output) -> ExitCode {
    let mut interrupt = match signal(SignalKind::interrupt()) {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&Error::Threads(error)),
    };
    let redraws = io::stdout().is_terminal() && !output::is_dumb(|name| std::env::var(name).ok());
    let mut was_there = false;
    loop {
        let answer = tokio::select! {
            biased;
            _ = interrupt.recv() => return ExitCode::from(INTERRUPTED),
            answer = system.status() => answer,
        };
        let printed = match answer {
            Ok(status) => {
                was_there = true;
                let before = if redraws { REDRAW } else { "" };
                let after = if redraws || output != Output::Table { "" } else { "\n" };
                output::print(&format!("{before}{}{after}", output.one(&status)))
            }
            Err(error) if was_there => {
                report(&error);
                Ok(true)
            }
            Err(error) => return fail(&error),
        };
        match printed {
            Ok(true) => {}
            Ok(false) => return ExitCode::SUCCESS,
            Err(error) => return output::cannot_print(&error),
        }
        tokio::select! {
            biased;
            _ = interrupt.recv() => return ExitCode::from(INTERRUPTED),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// The admin listener of a running system.
struct System {
    client: Client<HttpConnector, Body>,
    url: Uri,
}

impl System {
    /// `url` may also be that of the page that `dev` names.
    fn at(url: &str) -> Result<Self, Error> {
        let unusable = || Error::Url { url: url.to_owned() };
        let base = url.trim_end_matches('/').trim_end_matches("/status");
        let parsed: Uri = format!("{base}/status").parse().map_err(|_| unusable())?;
        if parsed.scheme_str() != Some("http") || parsed.query().is_some() {
            return Err(unusable());
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER_TIME_MAX));
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), url: parsed })
    }

    async fn status(&self) -> Result<Status, Error> {
        let unreachable = |source| Error::Unreachable { url: self.url.to_string(), source };
        let answered = tokio::time::timeout(ANSWER_TIME_MAX, self.ask()).await;
        let (code, body) = answered.map_err(|error| unreachable(error.into()))?.map_err(unreachable)?;
        let status = (code == StatusCode::OK).then(|| serde_json::from_slice(&body).ok()).flatten();
        status.map(Status).ok_or_else(|| Error::NoStatus { url: self.url.to_string(), code: code.as_u16() })
    }

    async fn ask(&self) -> Result<(StatusCode, bytes::Bytes), Box<dyn StdError + Send + Sync>> {
        let request = Request::get(self.url.clone()).body(Body::empty())?;
        let (parts, body) = self.client.request(request).await?.into_parts();
        Ok((parts.status, to_bytes(Body::new(body), ANSWER_BYTES_MAX).await?))
    }
}

/// What `/status` answered. Kept as it came: a system of another version may say more or less.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Status(Value);

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status) = self;
        let mut line = |name: &str, value: &str| writeln!(formatter, "{name:<8} {value}");
        line("system", &format!("{} {}", text(&status["application"]), text(&status["version"])))?;
        line("at", &text(&status["at"]))?;
        line("data", &text(&status["data"]))?;
        line("head", &text(&status["head"]))?;
        line("mode", &mode(&status["mode"]))?;
        let alert = |alert: &Value| format!("{} ({})", text(&alert["alert"]), text(&alert["severity"]));
        line("alerts", &listed(&status["alerts"], alert))?;
        for advice in status["alerts"].as_array().into_iter().flatten().filter_map(|alert| alert["advice"].as_str()) {
            line("", advice)?;
        }
        let space = |store: &Value| format!("{} {}", text(&store["store"]), size(&store["free_bytes"]));
        line("free", &listed(&status["storage"], space))?;
        let projections = status["projections"].as_array().map(Vec::as_slice).unwrap_or_default();
        formatter.write_str(&read_models(projections))
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn listed(values: &Value, show: impl Fn(&Value) -> String) -> String {
    let shown: Vec<_> = values.as_array().into_iter().flatten().map(show).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

fn mode(mode: &Value) -> String {
    let switch = &mode["last_switch"];
    if switch.is_null() {
        return text(&mode["name"]);
    }
    format!("{} since {}, {}", text(&mode["name"]), text(&switch["at"]), text(&switch["reason"]))
}

fn size(bytes: &Value) -> String {
    let Some(mut size) = bytes.as_f64() else { return "unknown".to_owned() };
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while size >= 1024.0
        && let Some(larger) = units.next()
    {
        (size, unit) = (size / 1024.0, larger);
    }
    format!("{size:.1} {unit}")
}

/// A line for each read model, below what the columns are. What it waits for comes last, since it is long.
fn read_models(projections: &[Value]) -> String {
    const COLUMNS: [(&str, &str); 6] = [
        ("version", "version"),
        ("generation", "generation"),
        ("position", "position"),
        ("behind", "lag_events"),
        ("from queue", "applied_from_queue"),
        ("from log", "applied_from_log"),
    ];
    let names: Vec<_> = projections.iter().map(|projection| text(&projection["name"])).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("read model".len());
    let mut table = format!("\n{:<width$}", "read model");
    let widths = COLUMNS.map(|(title, _)| title.len().max(9));
    // Writing to a text cannot fail.
    for ((title, _), width) in COLUMNS.iter().zip(widths) {
        let _ = write!(table, "  {title:>width$}");
    }
    table.push_str("  state\n");
    for (name, projection) in names.iter().zip(projections) {
        let _ = write!(table, "{name:<width$}");
        for ((_, field), width) in COLUMNS.iter().zip(widths) {
            let _ = write!(table, "  {:>width$}", text(&projection[*field]));
        }
        let _ = writeln!(table, "  {}", state(projection));
    }
    table
}

fn state(projection: &Value) -> String {
    let mut state = match (&projection["generation"], &projection["serving"]) {
        (Value::Null, _) => "starts".to_owned(),
        (_, Value::Bool(true)) if projection["incomplete"] == true => "serves, incomplete".to_owned(),
        (_, Value::Bool(true)) => "serves".to_owned(),
        _ => "is filled".to_owned(),
    };
    for (what, field) in [("held", "held"), ("alarm", "alarm")] {
        if let Some(reason) = projection[field].as_str() {
            let _ = write!(state, ", {what}: {reason}");
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_a_table_for_people() {
        let status = Status(json!({
            "application": "shop", "version": "0.1.0", "at": "2026-11-23T18:46:48Z", "data": "/data/shop", "head": 4711,
            "mode": { "name": "direct", "last_switch": {
                "from": "suspect", "to": "direct", "reason": "confirmed", "at": "2026-11-23T18:46:47Z" } },
            "alerts": [{ "alert": "queue-not-relied-on", "severity": "warning", "advice": "nothing is to be done" }],
            "storage": [{ "store": "log", "free_bytes": 1_610_612_736 }, { "store": "rows", "free_bytes": null }],
            "projections": [
                { "name": "country_sales", "version": 1, "generation": 3, "serving": true, "position": 4711,
                  "lag_events": 0, "held": null, "alarm": null, "applied_from_queue": 4000, "applied_from_log": 711 },
                { "name": "new", "version": 1, "generation": 5, "serving": true, "incomplete": true, "position": 9,
                  "lag_events": 4702, "held": null, "alarm": null, "applied_from_queue": 0, "applied_from_log": 9 },
                { "name": "late", "version": 2, "generation": 4, "serving": false, "position": 10,
                  "lag_events": 4701, "held": "an unknown event", "alarm": null, "applied_from_queue": 0,
                  "applied_from_log": 10 },
            ],
        }));
        let shown = [
            "system   shop 0.1.0",
            "at       2026-11-23T18:46:48Z",
            "data     /data/shop",
            "head     4711",
            "mode     direct since 2026-11-23T18:46:47Z, confirmed",
            "alerts   queue-not-relied-on (warning)",
            "         nothing is to be done",
            "free     log 1.5 GiB, rows unknown",
            "",
            "read model       version  generation   position     behind  from queue   from log  state",
            "country_sales          1           3       4711          0        4000        711  serves",
            "new                    1           5          9       4702           0          9  serves, incomplete",
            "late                   2           4         10       4701           0         10  is filled, held: an unknown event",
            "",
        ];
        assert_eq!(status.to_string(), shown.join("\n"));
    }

    #[test]
    fn a_system_that_says_less_is_shown_all_the_same() {
        let shown = Status(json!({})).to_string();
        assert!(shown.contains("head     -\n") && shown.contains("alerts   none\n"), "{shown}");
    }

    #[test]
    fn an_address_is_that_of_the_listener_or_of_its_page() {
        for url in ["http://127.0.0.1:8081", "http://127.0.0.1:8081/", "http://127.0.0.1:8081/status"] {
            assert_eq!(
                System::at(url).ok().map(|system| system.url.to_string()).as_deref(),
                Some("http://127.0.0.1:8081/status")
            );
        }
        for url in ["", "here", "127.0.0.1:8081", "https://127.0.0.1:8081", "ftp://a", "http://a?x=y", "http://"] {
            assert!(matches!(System::at(url), Err(Error::Url { .. })), "{url:?}");
        }
    }
}
