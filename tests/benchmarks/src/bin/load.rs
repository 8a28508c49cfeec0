//! Runs the workload against a server that is running already: `load ADDRESS CONNECTIONS SECONDS`. For profiling.

use std::time::Duration;

use benchmarks::{Journey, Load, quantile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: load ADDRESS CONNECTIONS SECONDS");
    let (address, connections, seconds) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let prefix = format!("l{}", std::process::id());
    let load = Load { connections, requests_max: usize::MAX / 2, time_max: Duration::from_secs(seconds), first: 0 };
    let run = load.run(address, Journey { prefix, keyed: false })?;
    println!(
        "{:.0}/s, p50 {:.0} µs, p99 {:.0} µs, {} failed {:?}",
        run.rate(),
        quantile(&run.latencies, 0.5),
        quantile(&run.latencies, 0.99),
        run.failed,
        run.first_failure
    );
    Ok(())
}
