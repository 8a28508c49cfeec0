//! The Command Database's server dies for good, and its standby takes over: first one that has every commit, then, with another
//! one that was cut off before, a log that lacks its end.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use cluster::PostgresServer;
use command_database::{EventStore, PostgresConfig, PostgresEventStore};
use model::Lineage;
use uuid::Uuid;

use super::Options;
use crate::{
    Report, Stage, Trouble,
    audit::{self, Account, Log},
    client::{Answer, Client},
    figures::{milliseconds, seconds},
    history::Operation,
    load::Load,
};

const BACK_WAIT: Duration = Duration::from_secs(60);
/// How long commands go on that the standby will not have; and before and after.
const STEP: Duration = Duration::from_secs(2);

pub(super) fn run(stage: &mut Stage, options: Options, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.block_on(epochs(stage))?;
    with_every_commit(stage, options, before, report)?;
    without_the_last(stage, options, before, report)
}

/// The standby confirms each commit, so that it has what was acknowledged.
fn with_every_commit(stage: &mut Stage, options: Options, before: usize, report: &mut Report) -> Result<(), Trouble> {
    let threads = stage.threads();
    let load = Load::start(&threads, stage.api, "kept", options.rate);
    sleep(STEP);
    stage.system.log.kill()?;
    let killed = Instant::now();
    let system = &mut stage.system;
    system.log_standby.succeed(&system.log)?;
    std::mem::swap(&mut system.log, &mut system.log_standby);
    accepted_again(stage, &load)?;
    let away = killed.elapsed();
    sleep(STEP);
    stage.history.extend(load.end(&threads));
    let log = stage.block_on(Log::read(&stage.system.log.url("postgres")))?;
    let account = Account::new(&stage.history, &log);
    let about = |what: &str| format!("with every commit: {what}");
    report.tell(&about("commands are accepted again"), seconds(away));
    let lost = account.lost.len();
    report.promise(&about("acknowledged commands lost"), lost == 0, format!("{lost} of {}", account.acknowledged), "0");
    let epochs = stage.block_on(epochs(stage))?;
    report.promise(&about("epochs"), epochs == before + 1, epochs, "one more: another timeline is another life");
    Ok(())
}

fn without_the_last(stage: &mut Stage, options: Options, before: usize, report: &mut Report) -> Result<(), Trouble> {
    let threads = stage.threads();
    // Nobody waits for it: that is what may lose something.
    let mut standby = stage.system.log.standby()?;
    let load = Load::start(&threads, stage.api, "cut", options.rate);
    sleep(STEP);
    standby.stop()?;
    let cut_off = load.accepted();
    sleep(STEP);
    stage.wait_until("more is accepted", BACK_WAIT, |_| load.accepted() >= cut_off + 20)?;
    let history = load.end(&threads);
    let ghost = history.iter().rev().find(|each| each.accepted().is_some_and(|accepted| accepted.version == 1));
    let ghost = ghost.ok_or("nothing was accepted")?.clone();
    let seen = stage.block_on(ask(stage.api, &ghost, true))?.status;
    report.promise("without the last: a row of them was read before", seen == 200, seen, "200");

    stage.system.log.kill()?;
    let began = Instant::now();
    standby.succeed(&stage.system.log)?;
    replace(&mut stage.system.log, standby);
    let load = Load::start(&threads, stage.api, "after", options.rate);
    accepted_again(stage, &load)?;
    let away = began.elapsed();
    let gone = ghost_is_gone(stage, &ghost, began)?;
    sleep(STEP);
    let after = load.end(&threads);
    stage.history.extend(history.into_iter().chain(after));
    let log = stage.block_on(Log::read(&stage.system.log.url("postgres")))?;
    let account = Account::new(&stage.history, &log);
    let about = |what: &str| format!("without the last: {what}");
    report.tell(&about("commands are accepted again"), seconds(away));
    note_loss(&account, stage, before, report)?;
    report.promise(
        &about("the rows of what was lost are gone"),
        gone.is_some(),
        gone.map_or("no".to_owned(), seconds),
        "404",
    );
    note_token(stage, &ghost, report)?;
    account.note_all_but_loss(report);
    // They are accounted for, and rows may have been folded anew.
    let lost: BTreeSet<Uuid> = account.lost.iter().map(|lost| lost.command).collect();
    stage.history.retain(|each| !each.accepted().is_some_and(|accepted| lost.contains(&accepted.command)));
    stage.compared = 0;
    audit::log_and_rows(stage, &log, report)
}

/// In the dead one's place; that one and its files are removed.
fn replace(place: &mut PostgresServer, with: PostgresServer) {
    drop(std::mem::replace(place, with));
}

fn accepted_again(stage: &Stage, load: &Load) -> Result<(), Trouble> {
    let before = load.accepted();
    stage.wait_until("commands are accepted", BACK_WAIT, |_| load.accepted() >= before + 20)?;
    Ok(())
}

/// Asks for the account's row, with its token or without one.
async fn ask(api: SocketAddr, operation: &Operation, with_token: bool) -> Result<Answer, Trouble> {
    let token = operation.accepted().map_or("", |accepted| &accepted.token);
    let headers = [("consistency-token", token), ("prefer", "wait=20")];
    let headers = if with_token { &headers[..] } else { &[] };
    Client::new(api).get(&format!("/queries/ledger/account/{}", operation.account), headers).await
}

/// How long it took until the row was not shown any more.
fn ghost_is_gone(stage: &Stage, ghost: &Operation, since: Instant) -> Result<Option<Duration>, Trouble> {
    while since.elapsed() < BACK_WAIT {
        if stage.block_on(ask(stage.api, ghost, false))?.status == 404 {
            return Ok(Some(since.elapsed()));
        }
        sleep(Duration::from_millis(20));
    }
    Ok(None)
}

async fn lineage(stage: &Stage) -> Result<Lineage, Trouble> {
    let config = PostgresConfig::new(stage.system.log.url("postgres"));
    Ok(PostgresEventStore::open(config, &runtime::Runtime::tokio()).await?.lineage().await?)
}

async fn epochs(stage: &Stage) -> Result<usize, Trouble> {
    Ok(lineage(stage).await?.0.len())
}

/// What is lost is the end of the former life, all of it and nothing else.
fn note_loss(account: &Account, stage: &Stage, before: usize, report: &mut Report) -> Result<(), Trouble> {
    let lineage = stage.block_on(lineage(stage))?;
    let fork = lineage.current().map_or(0, |epoch| epoch.first.get());
    let lost = &account.lost;
    let measured = format!("{} from position {fork} on, of {} acknowledged", lost.len(), account.acknowledged);
    let is_end = !lost.is_empty() && lost.iter().flat_map(|lost| &lost.positions).all(|position| *position >= fork);
    report.promise("without the last: lost", is_end, measured, "the end of the former epoch and nothing else");
    let epochs = lineage.0.len();
    report.promise("without the last: epochs", epochs == before + 2, epochs, "another one more");
    Ok(())
}

fn note_token(stage: &Stage, ghost: &Operation, report: &mut Report) -> Result<(), Trouble> {
    let began = Instant::now();
    let answer = stage.block_on(ask(stage.api, ghost, true))?;
    let said = format!("{} {} after {}", answer.status, answer.problem(), milliseconds(began.elapsed()));
    let is_refused = answer.status == 409 && answer.problem() == "epoch-changed";
    report.promise("without the last: a token beyond the fork", is_refused, said, "409 epoch-changed");
    Ok(())
}
