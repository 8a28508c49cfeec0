use std::{path::Path, process::Command, thread::available_parallelism};

use cluster::{Part, Role};
use tokio::runtime::{Builder, Runtime};

use crate::stage::{Stage, Trouble};

/// Ties what serves reads to the second half of the processors, and all else to the first. Returns threads for clients that
/// write and for clients that read, tied likewise; nothing where there is one processor, or nobody who may tie.
pub(super) fn split(stage: &Stage) -> Result<Option<(Runtime, Runtime)>, Trouble> {
    let all = available_parallelism().map_or(1, usize::from);
    if !is_possible(all) {
        return Ok(None);
    }
    let (writing, reading) = (format!("0-{}", all / 2 - 1), format!("{}-{}", all / 2, all - 1));
    let mut gateways = 0;
    for part in stage.system.parts() {
        gateways += usize::from(part.name == Role::ApiGateway.name());
        let reads = serves_reads(&part, gateways);
        // One that a drill has left dead takes no time.
        if let Some(process) = part.process {
            tie(&process.to_string(), if reads { &reading } else { &writing })?;
        }
    }
    let threads = |processors: String| {
        let mut threads = Builder::new_multi_thread();
        threads.enable_all().worker_threads(all.div_ceil(2)).on_thread_start(move || {
            let here = std::fs::read_link("/proc/thread-self").unwrap_or_default();
            let here = here.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            // Untied it measures a little less well.
            let _ = tie(&here, &processors);
        });
        threads.build()
    };
    Ok(Some((threads(writing)?, threads(reading)?)))
}

/// Lets everything run everywhere again.
pub(super) fn join(stage: &Stage) -> Result<(), Trouble> {
    let all = available_parallelism().map_or(1, usize::from);
    if is_possible(all) {
        let mut processes = stage.system.parts().into_iter().filter_map(|part| part.process);
        processes.try_for_each(|process| tie(&process.to_string(), &format!("0-{}", all - 1)))?;
    }
    Ok(())
}

fn is_possible(processors: usize) -> bool {
    processors > 1 && Command::new("taskset").arg("--version").output().is_ok()
}

/// The second gateway is asked for reads only.
fn serves_reads(part: &Part, gateways: usize) -> bool {
    part.name == Role::QueryService.name()
        || part.name == "query-database replica"
        || (part.name == Role::ApiGateway.name() && gateways == 2)
}

/// A process with all its threads, and what it has started; or a thread.
fn tie(process: &str, processors: &str) -> Result<(), Trouble> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    for process in children.split_ascii_whitespace().chain([process]) {
        // A server's own processes come and go.
        if Path::new("/proc").join(process).exists() {
            let tied =
                Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", processors, process]).output()?;
            if !tied.status.success() {
                return Err(format!("cannot tie process {process}: {}", String::from_utf8_lossy(&tied.stderr)).into());
            }
        }
    }
    Ok(())
}
