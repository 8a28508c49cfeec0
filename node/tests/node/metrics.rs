//! What a process says of itself is so, and changes when that changes.

use std::{
    fs,
    hint::black_box,
    net::UdpSocket,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use model::Registry;
use testkit::domain::{self, Ledger};

use crate::system::{System, wait_until};

const MEBIBYTE: usize = 1024 * 1024;

fn alert(system: &System, name: &str, severity: &str) -> Option<f64> {
    system.sample(&format!("diptych_alert{{alert=\"{name}\",severity=\"{severity}\"}}"))
}

/// Whether the alerts are as said: in metrics a zero or a one, in the status listed or not.
fn raised(system: &System, names: &[&str]) -> bool {
    let status = system.status();
    let listed: Vec<_> = status["alerts"].as_array().expect("a list").iter().map(|one| one["alert"].clone()).collect();
    let all = [
        ("queue-not-relied-on", "warning"),
        ("projection-held", "critical"),
        ("checkpoint-not-of-log", "critical"),
        ("read-model-incomplete", "warning"),
        ("rows-damaged", "critical"),
        ("storage-low", "critical"),
    ];
    let as_said = |(name, severity)| alert(system, name, severity) == Some(f64::from(u8::from(names.contains(&name))));
    all.into_iter().all(as_said) && listed == names
}

#[test]
fn the_process_metrics_are_those_of_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path(), domain::registry(), |_| {});
    let sample = |name: &str| system.sample(name).unwrap_or_else(|| panic!("there is no {name}"));

    let metrics = system.administer("GET", "/metrics");
    for line in [
        "# TYPE process_cpu_seconds counter",
        "# UNIT process_cpu_seconds seconds",
        "# TYPE process_resident_memory_bytes gauge",
        "# UNIT process_resident_memory_bytes bytes",
        "# TYPE process_open_fds gauge",
        "# TYPE diptych_alert gauge",
        "# UNIT diptych_storage_free_bytes bytes",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\nin\n{metrics}");
    }
    assert!(metrics.contains("diptych_insecure_switch{name=\"insecure_no_authentication\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("clock_skew"), "one process has no peers");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let started = sample("process_start_time_seconds");
    assert!(started < now && started > now - 3600.0, "started at {started}, now it is {now}");

    let cpu = sample("process_cpu_seconds_total");
    let mut number = 1_u64;
    wait_until("CPU time is counted", || {
        (0..10_000_000).for_each(|_| number = black_box(number.wrapping_mul(6_364_136_223_846_793_005)));
        sample("process_cpu_seconds_total") >= cpu + 0.05
    });

    let (resident, reserved) = (sample("process_resident_memory_bytes"), sample("process_virtual_memory_bytes"));
    let memory = black_box(vec![1_u8; 256 * MEBIBYTE]);
    let more = (128 * MEBIBYTE) as f64;
    assert!(sample("process_resident_memory_bytes") > resident + more);
    assert!(sample("process_virtual_memory_bytes") > reserved + more);
    assert!(sample("process_virtual_memory_bytes") > sample("process_resident_memory_bytes"));
    drop(memory);

    // Other tests of this binary open and close files meanwhile, but not nearly as many.
    let (open, limit) = (sample("process_open_fds"), sample("process_max_fds"));
    assert!(open >= 3.0 && open < limit, "{open} of {limit}");
    let sockets: Vec<_> = (0..200).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket")).collect();
    assert!(sample("process_open_fds") > open + 100.0);
    drop(sockets);
    assert!(sample("process_open_fds") < open + 100.0);
    system.stop();
}

#[test]
fn the_alert_about_the_queue_is_raised_while_the_queue_is_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path(), domain::registry(), |_| {});
    wait_until("the read model is there", || raised(&system, &[]));
    system.administer("POST", "/faults/queue");
    system.open_account("a-1");
    wait_until("the alert is raised", || raised(&system, &["queue-not-relied-on"]));
    system.administer("DELETE", "/faults/queue");
    wait_until("the alert is over", || raised(&system, &[]));
    system.stop();
}

#[test]
fn the_alert_about_storage_is_raised_while_less_is_free_than_is_wanted() {
    let directory = tempfile::tempdir().expect("a directory");
    for (free_bytes_min, alerts) in [(0, &[][..]), (u64::MAX, &["storage-low"]), (0, &[])] {
        let system = System::start(directory.path(), domain::registry(), |settings| {
            settings.storage_free_bytes_min = free_bytes_min;
        });
        wait_until("the alert is as the limit says", || raised(&system, alerts));
        system.stop();
    }
}

#[test]
fn free_space_shrinks_when_the_disk_fills() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(&directory.path().join("data"), domain::registry(), |_| {});
    for store in ["log", "rows"] {
        let name = format!("diptych_storage_free_bytes{{store=\"{store}\"}}");
        let free = || system.sample(&name).expect("it is known");
        // Others write and delete on the same disk, so one look may miss it.
        let mut number = 0;
        wait_until("a file took space away", || {
            let before = free();
            number += 1;
            let file = directory.path().join(format!("{store}-{number}"));
            fs::write(&file, vec![7; 32 * MEBIBYTE]).expect("written");
            fs::File::open(&file).and_then(|file| file.sync_all()).expect("synced");
            let after = free();
            fs::remove_file(&file).expect("removed");
            after <= before - (16 * MEBIBYTE) as f64
        });
    }
    assert!(system.status()["storage"][0]["free_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    system.stop();
}

/// A directory with `accounts` events, folded.
fn filled(data: &Path, accounts: u32) {
    let system = System::start(data, domain::registry(), |_| {});
    (0..accounts).for_each(|number| system.open_account(&format!("a-{number}")));
    wait_until("all is folded", || system.status()["projections"][0]["position"] == accounts);
    system.stop();
}

#[test]
fn the_alerts_about_a_projection_are_raised_until_it_has_what_it_waits_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, other) = (directory.path().join("data"), directory.path().join("other"));
    filled(&data, 2);
    filled(&other, 3);
    // The rows of one log beside another, and a binary that does not know the events in it.
    for name in ["log.sqlite3", "log.sqlite3-wal", "log.sqlite3-shm"] {
        let (from, to) = (other.join(name), data.join(name));
        let _ = fs::remove_file(&to);
        if from.exists() {
            fs::rename(from, to).expect("moved");
        }
    }
    let ledger_alone = Registry::new().projection::<Ledger>().expect("a projection");
    let system = System::start(&data, ledger_alone, |_| {});
    wait_until("both alerts are raised", || raised(&system, &["projection-held", "checkpoint-not-of-log"]));
    system.stop();
    let system = System::start(&data, domain::registry(), |_| {});
    wait_until("it has caught up", || system.status()["projections"][0]["position"] == 3);
    wait_until("both alerts are over", || raised(&system, &[]));
    system.stop();
}
