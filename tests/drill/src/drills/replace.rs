//! Gateways and Command Services are told to end, and others take their places.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use cluster::Role;

use super::Options;
use crate::{
    Report, Stage, Trouble, audit,
    canary::{Canary, summary, unanswered},
    figures::milliseconds,
    history,
    load::Load,
};

pub(super) fn run(stage: &mut Stage, options: Options, report: &mut Report) -> Result<(), Trouble> {
    let (threads, api) = (stage.threads(), stage.api);
    let load = Load::start(&threads, api, "replace", options.rate);
    let canary = Canary::start(&threads, api, "replace");
    sleep(Duration::from_secs(2));
    let began = Instant::now();
    let mut replaced = Vec::new();
    for role in [Role::ApiGateway, Role::CommandService] {
        for service in stage.system.services_mut(role) {
            service.stop()?;
            service.restart()?;
            service.wait_until_ready()?;
            replaced.push(format!("{} {:.1} s", role.name(), began.elapsed().as_secs_f64()));
        }
    }
    sleep(Duration::from_secs(1));
    let over = Instant::now();
    let history = load.end(&threads);
    let (samples, of_canary) = canary.end(&threads);

    report.tell("drained and replaced", replaced.join(", "));
    let history = [history, of_canary].concat();
    let failures = history::failures(&history, began, over);
    let said = history::described(&failures, began);
    report.promise("commands that failed", failures.is_empty(), said, "0");
    let unread = unanswered(&samples, began, over);
    report.promise("reads that failed", unread == 0, unread, "0");
    let (p99, max) = summary(&samples, began, over);
    report.tell("staleness p99 meanwhile", format!("{}, at most {}", milliseconds(p99), milliseconds(max)));
    audit::everything(stage, history, report)?;
    Ok(())
}
