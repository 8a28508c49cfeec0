//! How fast it is, and what memory it takes: `cargo test --release -p diptych-verify --test verify -- --ignored --nocapture`.

use crate::system::{deposits, system};

const STREAMS: usize = 50_000;
const COMMANDS_PER_STREAM: usize = 5;
const EVENTS_PER_COMMAND: usize = 2;

fn memory_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Of this thread, which is all that verifying takes: a busy machine does not change it much.
fn processor_seconds() -> f64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedule.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0_f64) / 1e9
}

#[tokio::test]
#[ignore = "it measures, and takes a while"]
async fn half_a_million_events() {
    let system = system().await;
    let mut running = system.start().await;
    for _ in 0..COMMANDS_PER_STREAM {
        let streams: Vec<String> = (0..STREAMS).map(|stream| format!("account-{stream}")).collect();
        for some in streams.chunks(2_000) {
            running.append_many(some, &deposits(&[7; EVENTS_PER_COMMAND])).await;
        }
    }
    while running.fold().await {}
    drop(running);
    let before = memory_kib("VmRSS:");
    let began = processor_seconds();
    let report = system.verify();
    let processor = processor_seconds() - began;
    assert!(report.holds(), "{report}");
    println!("{report}\nmemory: {before} KiB before, {} KiB at most", memory_kib("VmHWM:"));
    println!("{processor:.2} s of one processor: {:.0} events a second", report.log.events as f64 / processor);
}
