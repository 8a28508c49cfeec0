//! The whole queue is out: suspended first, then killed.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use cluster::NatsServer;

use super::Options;
use crate::{
    Report, Stage, Trouble, audit,
    canary::{Canary, Sample, spells, summary, unanswered},
    figures::{median_of_windows, milliseconds, percentile, seconds},
    history::{self, Operation},
    load::Load,
};

/// Before anything is measured: connections are made and caches filled.
const WARM_UP: Duration = Duration::from_secs(3);
/// How old what is read may be, but for a hundredth of the time.
const STALE: Duration = Duration::from_millis(250);
const BACK_WAIT: Duration = Duration::from_secs(60);

pub(super) fn run(stage: &mut Stage, options: Options, report: &mut Report) -> Result<(), Trouble> {
    let (threads, api) = (stage.threads(), stage.api);
    let load = Load::start(&threads, api, "outage", options.rate);
    let canary = Canary::start(&threads, api, "outage");
    sleep(WARM_UP.min(options.span));
    let mut outages = Vec::new();
    for how in [How::Suspended, How::Killed] {
        outages.push(outage(stage, options.span, how)?);
    }
    let history = load.end(&threads);
    let (samples, of_canary) = canary.end(&threads);
    for outage in &outages {
        outage.note(&history, &samples, report);
    }
    audit::everything(stage, [history, of_canary].concat(), report)?;
    Ok(())
}

#[derive(Clone, Copy)]
enum How {
    Suspended,
    Killed,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Killed => "killed",
        }
    }

    fn strike(self, server: &mut NatsServer) -> Result<(), cluster::Error> {
        match self {
            Self::Suspended => server.suspend(),
            Self::Killed => server.kill(),
        }
    }
}

/// What one outage was like.
struct Outage {
    how: How,
    /// When the quiet before it began.
    before: Instant,
    began: Instant,
    /// When the servers were there again.
    healed: Instant,
    over: Instant,
    /// From the outage to the log being read directly by all; `None` where that was not seen.
    direct_after: Option<Duration>,
    back_after: Duration,
    /// Reads for holes and outages while nothing was the matter.
    reads_in_quiet: [u64; 2],
}

/// The queue is out for `span`, after a quiet of half that, and before another one.
fn outage(stage: &mut Stage, span: Duration, how: How) -> Result<Outage, Trouble> {
    let quiet = span / 2;
    let (before, reads) = (Instant::now(), stage.direct_reads());
    sleep(quiet);
    let reads_before = stage.direct_reads() - reads;
    let began = Instant::now();
    stage.system.nats.iter_mut().try_for_each(|server| how.strike(server))?;
    let direct_after = stage.wait_until("the log is read directly", span, |stage| stage.is_mode("direct")).ok();
    sleep(span.saturating_sub(began.elapsed()));
    for server in &mut stage.system.nats {
        server.kill()?;
        server.wipe()?;
    }
    stage.system.nats.iter_mut().try_for_each(NatsServer::restart)?;
    let healed = Instant::now();
    let back_after = stage.wait_until("the queue is relied on again", BACK_WAIT, |stage| stage.is_mode("queue"))?;
    let (over, reads) = (Instant::now(), stage.direct_reads());
    sleep(quiet.min(Duration::from_secs(10)));
    let reads_in_quiet = [reads_before, stage.direct_reads() - reads];
    Ok(Outage { how, before, began, healed, over, direct_after, back_after, reads_in_quiet })
}

impl Outage {
    fn note(&self, history: &[Operation], samples: &[Sample], report: &mut Report) {
        let Self { before, began, healed, over, back_after, .. } = *self;
        let about = |what: &str| format!("{}: {what}", self.how.name());
        let windows =
            |from, to| median_of_windows(from, to, |from, to| percentile(history::latencies(history, from, to), 99));
        let (calm, out) = (windows(before, began), windows(began, healed));
        let ratio = out.as_secs_f64() / calm.as_secs_f64().max(1e-9);
        let measured = format!("{} after {}: {ratio:.2}", milliseconds(out), milliseconds(calm));
        report.speed(&about("command p99, median of five windows"), ratio <= 1.5, measured, "≤ 1.5 of before");
        let failures = history::failures(history, before, over).len();
        report.promise(&about("commands that had to be sent again"), failures == 0, failures, "0");
        let rate = history::accepted(history, began, healed) as f64 / healed.duration_since(began).as_secs_f64();
        report.tell(&about("commands accepted meanwhile"), format!("{rate:.0}/s"));
        let (p99, max) = summary(samples, began, over);
        let measured = format!("{}, at most {}", milliseconds(p99), milliseconds(max));
        report.speed(&about("staleness p99, outage and both switches"), p99 < STALE, measured, "< 250 ms");
        report.tell(&about("stale for longer than that"), spells(samples, began, over, STALE));
        let (p99, _) = summary(samples, before, began);
        report.tell(&about("staleness p99 before"), milliseconds(p99));
        let away = unanswered(samples, before, over);
        report.promise(&about("reads without an answer"), away == 0, away, "0");
        let measured = self.direct_after.map_or("never".to_owned(), milliseconds);
        report.promise(
            &about("the log is read directly, by all"),
            self.direct_after.is_some(),
            measured,
            "as long as it is out",
        );
        let is_soon = back_after < Duration::from_secs(5);
        report.speed(&about("the queue is relied on again"), is_soon, seconds(back_after), "< 5 s");
        let [reads_before, reads_after] = self.reads_in_quiet;
        let measured = format!("{reads_before} before, {reads_after} after");
        report.speed(&about("hole and outage reads in the quiet"), reads_before + reads_after == 0, measured, "0");
    }
}
