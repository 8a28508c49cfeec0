//! Every process and every server is killed in turn, and started again as whatever looks after processes would.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use cluster::Role;
use serde_json::Value;

use super::Options;
use crate::{
    Report, Stage, Trouble, audit,
    canary::{Canary, Sample, summary, unanswered},
    figures::{milliseconds, seconds},
    history::{self, Operation},
    load::Load,
};

const ROLES: [Role; 5] =
    [Role::LoadBalancer, Role::ApiGateway, Role::CommandService, Role::EventHandler, Role::QueryService];
const BACK_WAIT: Duration = Duration::from_secs(60);
/// After this nobody waits for a commit any more that was under way when the database died.
const SETTLE: Duration = Duration::from_millis(500);

/// `options.span` is how long databases and servers stay away; at most ten seconds, after which reads call themselves stale.
pub(super) fn run(stage: &mut Stage, options: Options, report: &mut Report) -> Result<(), Trouble> {
    let (threads, api) = (stage.threads(), stage.api);
    let away = options.span.min(Duration::from_secs(8));
    let load = Load::start(&threads, api, "kills", options.rate);
    let canary = Canary::start(&threads, api, "kills");
    let began = Instant::now();
    sleep(Duration::from_secs(2));
    let mut killed = 0;
    for role in ROLES.into_iter().filter(|role| *role != Role::EventHandler) {
        killed += roll(stage, &load, role)?;
    }
    let taken_over = takeover(stage)?;
    let log_away = log_is_away(stage, &load, away)?;
    let rows_away = rows_are_away(stage, &load, away)?;
    for count in [1, 2] {
        servers_are_away(stage, &load, count, away)?;
    }
    let over = Instant::now();
    let history = load.end(&threads);
    let (samples, of_canary) = canary.end(&threads);

    report.tell("killed", format!("{} services, 2 databases, 3 NATS servers", killed + 1));
    let longest = summary(&samples, taken_over.0, taken_over.1).1;
    let is_soon = longest < Duration::from_secs(5);
    report.speed("rows wait for another event handler", is_soon, seconds(longest), "< 5 s");
    note_databases(log_away, rows_away, &history, &samples, report);
    let failures = history::failures(&history, began, over).len();
    report.tell("sent again under the same key", format!("{failures} times"));
    report.tell("staleness p99 over everything", milliseconds(summary(&samples, began, over).0));
    audit::everything(stage, [history, of_canary].concat(), report)?;
    Ok(())
}

type Span = (Instant, Instant);

/// Waits until commands are accepted again.
fn goes_on(stage: &Stage, load: &Load) -> Result<(), Trouble> {
    let before = load.accepted();
    stage.wait_until("commands are accepted", BACK_WAIT, |_| load.accepted() >= before + 20)?;
    Ok(())
}

/// Kills each instance of a role, one after the other; how many there were.
fn roll(stage: &mut Stage, load: &Load, role: Role) -> Result<usize, Trouble> {
    let count = stage.system.services_mut(role).count();
    for index in 0..count {
        for service in stage.system.services_mut(role).skip(index).take(1) {
            service.kill()?;
            service.restart()?;
            service.wait_until_ready()?;
        }
        goes_on(stage, load)?;
    }
    Ok(count)
}

/// Kills the event handler that keeps the read model, and starts it again only when the other one has had time to take over.
fn takeover(stage: &mut Stage) -> Result<Span, Trouble> {
    let index = keeper(stage)?;
    let began = Instant::now();
    stage.system.services_mut(Role::EventHandler).skip(index).take(1).try_for_each(cluster::Service::kill)?;
    sleep(Duration::from_secs(6));
    let over = Instant::now();
    for service in stage.system.services_mut(Role::EventHandler).skip(index).take(1) {
        service.restart()?;
        service.wait_until_ready()?;
    }
    stage.wait_until("both rely on the queue", BACK_WAIT, |stage| stage.is_mode("queue"))?;
    Ok((began, over))
}

/// Which of the event handlers applies events at the moment.
fn keeper(stage: &Stage) -> Result<usize, Trouble> {
    let applied = || -> Vec<u64> {
        let of = |status: &Value, from: &str| status["projections"][0][from].as_u64().unwrap_or(0);
        let handlers = stage.handlers();
        handlers.iter().map(|status| of(status, "applied_from_queue") + of(status, "applied_from_log")).collect()
    };
    let began = Instant::now();
    while began.elapsed() < BACK_WAIT {
        let before = applied();
        sleep(Duration::from_millis(300));
        if let Some(index) = applied().iter().zip(&before).position(|(after, before)| after > before) {
            return Ok(index);
        }
    }
    Err("no event handler applies anything".into())
}

fn log_is_away(stage: &mut Stage, load: &Load, away: Duration) -> Result<Span, Trouble> {
    stage.system.log.kill()?;
    let began = Instant::now();
    sleep(away);
    let over = Instant::now();
    stage.system.log.start()?;
    goes_on(stage, load)?;
    Ok((began, over))
}

fn rows_are_away(stage: &mut Stage, load: &Load, away: Duration) -> Result<Span, Trouble> {
    stage.system.rows.kill()?;
    let began = Instant::now();
    sleep(away);
    let over = Instant::now();
    stage.system.rows.start()?;
    goes_on(stage, load)?;
    Ok((began, over))
}

fn servers_are_away(stage: &mut Stage, load: &Load, count: usize, away: Duration) -> Result<(), Trouble> {
    stage.system.nats.iter_mut().take(count).try_for_each(cluster::NatsServer::kill)?;
    goes_on(stage, load)?;
    sleep(away);
    stage.system.nats.iter_mut().take(count).try_for_each(cluster::NatsServer::restart)?;
    stage.wait_until("the queue is relied on again", BACK_WAIT, |stage| stage.is_mode("queue"))?;
    Ok(())
}

fn note_databases(log: Span, rows: Span, history: &[Operation], samples: &[Sample], report: &mut Report) {
    let unread = unanswered(samples, log.0, log.1);
    report.promise("reads without an answer, the Command Database away", unread == 0, unread, "0");
    let written = history::accepted(history, log.0 + SETTLE, log.1);
    report.promise("acknowledged, the Command Database away", written == 0, written, "0");
    let failures = history::failures(history, rows.0, rows.1).len();
    report.promise("commands sent again, the Query Database away", failures == 0, failures, "0");
    let written = history::accepted(history, rows.0, rows.1);
    report.promise("acknowledged, the Query Database away", written > 0, written, "they go on");
    let unread = unanswered(samples, rows.0, rows.1);
    report.tell("reads without an answer, the Query Database's primary away", unread);
}
