//! Reads on a replica at four fifths of their peak, beside commands: processors are kept apart where there are several.

use std::{
    net::SocketAddr,
    thread::{available_parallelism, sleep},
    time::{Duration, Instant},
};

use cluster::Role;
use tokio_postgres::NoTls;

use super::Options;
use crate::{
    Report, Stage, Trouble,
    client::Client,
    figures::{milliseconds, percentile},
    history,
    load::{Load, OPEN, send},
    readers::{Pace, Read, Readers},
    stage::metric,
};

mod processors;

/// Readers at once.
const READERS: usize = 16;
const PATH: &str = "/queries/ledger/log/all";
const WARM_UP: Duration = Duration::from_secs(2);

pub(super) fn run(stage: &mut Stage, options: Options, report: &mut Report) -> Result<(), Trouble> {
    let part = options.span / 4;
    let ways = ways(stage)?;
    let apart = processors::split(stage)?;
    let cores = available_parallelism().map_or(1, usize::from);
    report.tell(
        "processors",
        if apart.is_some() { format!("{cores}, writing and reading apart") } else { format!("{cores}, shared") },
    );
    let (writers, readers) = match &apart {
        Some((writers, readers)) => (writers.handle().clone(), readers.handle().clone()),
        None => (stage.threads(), stage.threads()),
    };
    // One row, so that there is something to read.
    let first = stage.block_on(send(&mut Client::new(stage.api), "first", OPEN, "first", Instant::now()));
    stage.history.push(first);
    let is_there =
        async |stage: &Stage| Client::new(stage.api).get(PATH, &[]).await.is_ok_and(|answer| answer.status == 200);
    stage.wait_until("there is a row", Duration::from_secs(30), |stage| stage.block_on(is_there(stage)))?;
    let read = |pace: Pace, span: Duration| -> Read {
        let asking = Readers::start(&readers, &[ways.queries], PATH, READERS, pace);
        sleep(span);
        asking.end(&readers)
    };
    read(Pace::Greedy, WARM_UP);
    let before = served_by_each(stage);
    let peak = read(Pace::Greedy, part);
    let served = served_by_each(stage).iter().zip(&before).map(|(after, before)| after - before).collect::<Vec<_>>();
    report.tell("reads at their peak", format!("{:.0}/s", peak.per_second));
    note_shares(&served, report);

    let load = Load::start(&writers, ways.commands, "apart", options.rate);
    sleep(WARM_UP);
    let alone = Instant::now();
    sleep(part);
    let connected = stage.block_on(connections(stage))?;
    let together = Instant::now();
    let asking = Readers::start(&readers, &[ways.queries], PATH, READERS, Pace::Rate(peak.per_second * 0.8));
    let mut newcomers = 0;
    while together.elapsed() < part {
        let now = stage.block_on(connections(stage))?;
        newcomers = newcomers.max(now.iter().filter(|process| !connected.contains(process)).count());
        sleep(Duration::from_millis(200));
    }
    let over = Instant::now();
    let reads = asking.end(&readers);
    let history = load.end(&writers);

    let p50 = |from, to| percentile(history::latencies(&history, from, to), 50);
    let (calm, beside) = (p50(alone, together), p50(together, over));
    let ratio = beside.as_secs_f64() / calm.as_secs_f64().max(1e-9);
    report.tell("reads beside commands", format!("{:.0}/s, {} failed", reads.per_second, reads.failed));
    let measured = format!("{} after {}: {ratio:.2}", milliseconds(beside), milliseconds(calm));
    report.speed("command p50 beside them", ratio < 1.3, measured, "< 1.3 of alone");
    report.promise("connections that reads open to the Command Database", newcomers == 0, newcomers, "0");
    stage.history.extend(history);
    processors::join(stage)?;
    Ok(())
}

/// A front for commands and one for queries: what is to be measured apart does not meet in one gateway.
struct Ways {
    commands: SocketAddr,
    queries: SocketAddr,
}

fn ways(stage: &mut Stage) -> Result<Ways, Trouble> {
    let gateways: Vec<String> =
        stage.system.services_mut(Role::ApiGateway).filter_map(|gateway| gateway.address()).collect();
    let [commands, queries] = gateways.as_slice() else { return Err("there are two gateways".into()) };
    Ok(Ways { commands: commands.parse()?, queries: queries.parse()? })
}

/// How many queries each Query Service has answered.
fn served_by_each(stage: &Stage) -> Vec<u64> {
    let services = stage.system.services.iter().filter(|service| service.role() == Role::QueryService);
    services.map(|service| metric(&service.admin(), "diptych_query_service_query_duration_seconds_count")).collect()
}

fn note_shares(served: &[u64], report: &mut Report) {
    let all = served.iter().sum::<u64>().max(1) as f64;
    let shares: Vec<f64> = served.iter().map(|count| *count as f64 / all).collect();
    let is_even = shares.iter().all(|share| (share * shares.len() as f64 - 1.0).abs() < 0.1);
    let said = shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect::<Vec<_>>().join(", ");
    report.promise("each Query Service's share", is_even, said, "equal, within a tenth");
}

/// The processes that serve a client on the Command Database, other than this one. Those that writers ask for the time come and
/// go.
async fn connections(stage: &Stage) -> Result<Vec<i32>, Trouble> {
    let (client, connection) = tokio_postgres::connect(&stage.system.log.url("postgres"), NoTls).await?;
    tokio::spawn(connection);
    let others = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND application_name <> 'diptych-clock'";
    Ok(client.query(others, &[]).await?.iter().map(|row| row.get(0)).collect())
}
