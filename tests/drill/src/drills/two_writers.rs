//! One hot account, two Command Services that both write to it, very many clients, and other people's transactions beside.

use std::time::{Duration, Instant};

use cluster::Role;
use tokio_postgres::NoTls;

use super::Options;
use crate::{
    Report, Stage, Trouble, audit,
    client::Client,
    figures::{milliseconds, percentile, seconds},
    history::{Operation, described, failures},
    load::{DEPOSIT, OPEN, send},
    stage::metric,
    tailer::Tailer,
};

/// How long a reader may look in vain at a log that has more.
const STALL_MAX: Duration = Duration::from_secs(1);

/// Each client sends one command after the other for `options.span`, and one at least.
pub(super) fn run(stage: &mut Stage, options: Options, report: &mut Report) -> Result<(), Trouble> {
    let before = written_by_each(stage);
    let services = addresses(stage);
    a_service_to_each_gateway(stage, services.iter().cloned())?;
    let threads = stage.threads();
    let opened = stage.block_on(async { send(&mut Client::new(stage.api), "hot", OPEN, "hot", Instant::now()).await });
    let log = stage.system.log.url("postgres");
    let foreign = stage.block_on(foreign(&log))?;
    let tailer = Tailer::start(&threads, log);
    let began = Instant::now();
    let history = stage.block_on(everybody(stage.api, options));
    let took = began.elapsed();
    let followed = tailer.end(&threads)?;
    foreign.into_iter().for_each(|transaction| transaction.abort());

    let accepted = history.iter().filter(|operation| operation.accepted().is_some()).count();
    let rate = accepted as f64 / took.as_secs_f64();
    report.tell("clients at once", format!("{}, in {}", options.clients, seconds(took)));
    let latencies = history.iter().map(Operation::latency).collect();
    report.tell("accepted", format!("{rate:.0}/s, p99 {}", milliseconds(percentile(latencies, 99))));
    let written: Vec<u64> = written_by_each(stage).iter().zip(&before).map(|(after, before)| after - before).collect();
    let both = written.iter().all(|count| *count > 0) && written.len() == 2;
    report.promise("written by each Command Service", both, format!("{written:?}"), "both write");
    let commits = stage.metric(Role::CommandService, "diptych_command_database_commit_commands_count");
    let conflicts = stage.metric(Role::CommandService, "diptych_command_service_conflicts_total");
    report.tell("commits, and lost races decided again", format!("{commits}, {conflicts}"));
    let mut versions: Vec<u64> = history.iter().filter_map(|each| Some(each.accepted()?.version)).collect();
    versions.sort_unstable();
    let is_dense = versions.iter().copied().eq(2..=accepted as u64 + 1);
    report.promise(
        "versions that clients were told",
        is_dense,
        format!("{} of them", versions.len()),
        "each once, dense",
    );
    let stalled = followed.stalled;
    report.promise("a reader of the log stalls", stalled < STALL_MAX, milliseconds(stalled), "never for a second");

    report.tell("sent again under the same key", described(&failures(&history, began, began + took), began));
    let log = audit::everything(stage, [history, vec![opened]].concat(), report)?;
    let is_whole = followed.skipped == 0 && log.events.last().map(|last| last.hash) == Some(followed.hash);
    let measured = format!("{} of {} events, {} out of place", followed.events, log.events.len(), followed.skipped);
    report.promise("what that reader saw", is_whole, measured, "every event, in order, unchanged since");
    let all = services.join(",");
    a_service_to_each_gateway(stage, std::iter::repeat(all))?;
    Ok(())
}

fn addresses(stage: &mut Stage) -> Vec<String> {
    stage.system.services_mut(Role::CommandService).filter_map(|service| service.address()).collect()
}

/// Gateways send the commands of an account to one Command Service as long as it lives. Each gateway is told of another one.
fn a_service_to_each_gateway(stage: &mut Stage, services: impl Iterator<Item = String>) -> Result<(), Trouble> {
    for (gateway, service) in stage.system.services_mut(Role::ApiGateway).zip(services) {
        gateway.set("DIPTYCH__API_GATEWAY__COMMAND_SERVICES", &service);
        gateway.stop()?;
        gateway.restart()?;
        gateway.wait_until_ready()?;
    }
    Ok(())
}

/// How many events each Command Service has appended.
fn written_by_each(stage: &Stage) -> Vec<u64> {
    let services = stage.system.services.iter().filter(|service| service.role() == Role::CommandService);
    services.map(|service| metric(&service.admin(), "diptych_command_database_events_appended_total")).collect()
}

async fn everybody(api: std::net::SocketAddr, options: Options) -> Vec<Operation> {
    let over = Instant::now() + options.span;
    let one = |client: usize| async move {
        let (mut connection, mut history) = (Client::new(api), Vec::new());
        while history.is_empty() || Instant::now() < over {
            let key = format!("hot-{client}-{}", history.len());
            history.push(send(&mut connection, "hot", DEPOSIT, &key, Instant::now()).await);
        }
        history
    };
    let clients: Vec<_> = (0..options.clients).map(|client| tokio::spawn(one(client))).collect();
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap_or_default());
    }
    history
}

/// Transactions of somebody else on the log's server, each an older writer than what is appended meanwhile: one idles, one
/// sleeps before it commits, one takes the log's last row again and again and rolls back.
async fn foreign(url: &str) -> Result<Vec<tokio::task::JoinHandle<()>>, Trouble> {
    const IDLE: &str = "BEGIN; SELECT txid_current(); CREATE TABLE IF NOT EXISTS public.idle ()";
    const SLEEPING: &str = "BEGIN; SELECT txid_current(); CREATE TABLE IF NOT EXISTS public.slept ();
        SELECT pg_sleep(0.2); COMMIT";
    const UNDOING: &str = "BEGIN; UPDATE diptych.log_head SET position = position + 10;
        SELECT pg_sleep(0.01); ROLLBACK; SELECT pg_sleep(0.05)";
    let mut all = Vec::new();
    for (statements, again) in [(IDLE, false), (SLEEPING, true), (UNDOING, true)] {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(statements).await?;
        all.push(tokio::spawn(async move {
            while again && client.batch_execute(statements).await.is_ok() {}
            // An open transaction lasts as long as its connection.
            std::future::pending::<()>().await;
            drop(client);
        }));
    }
    Ok(all)
}
