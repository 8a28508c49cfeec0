//! The queue dies for a while: reads stay fresh, and nothing is lost or doubled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    client::Client,
    system::{System, assert_verified},
};

const OUTAGE: Duration = Duration::from_secs(30);
const COMMANDS_PER_SECOND_MIN: u64 = 200;

fn direct_reads(system: &System) -> f64 {
    ["hole", "outage"]
        .iter()
        .map(|reason| system.metric(&format!("diptych_event_handler_direct_reads_total{{reason=\"{reason}\"}}")))
        .sum()
}

fn body(time: &str) -> String {
    format!(
        r#"{{"country":"France","lines":[{{"line":1,"stock_code":"22041","quantity":1,"price":"1.000","time":"{time}"}}]}}"#
    )
}

/// Places an order and asks for its row, without a token, until it is there. Returns how long that took.
fn staleness(client: &mut Client, id: &str) -> Duration {
    let answer =
        client.post(&format!("/commands/order/{id}/place"), &[], &body("2010-01-01T00:00:00")).expect("placed");
    assert_eq!(answer.status, 201, "{}", answer.body);
    let acknowledged = Instant::now();
    while client.get(&format!("/queries/order_summary/{id}"), &[]).expect("answered").status != 200 {
        assert!(acknowledged.elapsed() < Duration::from_secs(10), "the canary's row never came");
        thread::sleep(Duration::from_millis(2));
    }
    acknowledged.elapsed()
}

#[test]
fn reads_stay_fresh_while_the_queue_is_off_and_nothing_is_lost_or_doubled() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path());
    let (over, placed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..16)
        .map(|connection| {
            let (over, placed, mut client) = (over.clone(), placed.clone(), system.client());
            thread::spawn(move || {
                for index in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let path = format!("/commands/order/load-{connection}-{index}/place");
                    let answer = client.post(&path, &[], &body("2010-01-02T00:00:00")).expect("answered");
                    assert_eq!(answer.status, 201, "{}", answer.body);
                    placed.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(10));
                }
            })
        })
        .collect();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(system.status()["mode"]["name"], "queue");
    assert!(direct_reads(&system) < 0.5, "direct reads before the outage: {:#}", system.status());

    // A client for each: a connection that is idle for the length of the outage may be closed.
    let admin = || Client::new(system.admin);
    let off = Instant::now();
    assert_eq!(admin().post("/faults/queue", &[], "").expect("answered").status, 200);
    while system.status()["mode"]["name"] != "direct" {
        assert!(off.elapsed() < Duration::from_secs(5), "never direct: {:#}", system.status());
    }
    let detected = off.elapsed();
    let placed_before = placed.load(Ordering::Relaxed);
    let (mut canary, mut measured) = (system.client(), Vec::new());
    while off.elapsed() < OUTAGE {
        measured.push(staleness(&mut canary, &format!("canary-{}", measured.len())));
        thread::sleep(Duration::from_millis(20));
    }
    let rate = (placed.load(Ordering::Relaxed) - placed_before) as f64 / (off.elapsed() - detected).as_secs_f64();
    assert_eq!(admin().send("DELETE", "/faults/queue", &[], "").expect("answered").status, 200);
    let healed = Instant::now();
    while system.status()["mode"]["name"] != "queue" {
        measured.push(staleness(&mut canary, &format!("canary-{}", measured.len())));
        assert!(healed.elapsed() < Duration::from_secs(10), "never back: {:#}", system.status());
    }
    let back = healed.elapsed();
    let reads_after_the_outage = direct_reads(&system);
    thread::sleep(Duration::from_secs(3));
    assert!(
        (direct_reads(&system) - reads_after_the_outage).abs() < 0.5,
        "direct reads go on after the outage: {:#}",
        system.status()
    );
    over.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|connection| connection.join().expect("the load ran"));
    system.wait_until_caught_up();

    measured.sort();
    let p99 = measured[measured.len() * 99 / 100];
    println!(
        "direct after {detected:?}, staleness p99 {p99:?} of {} canaries, {rate:.0} commands/s, back after {back:?}",
        measured.len()
    );
    assert!(detected < Duration::from_millis(250), "direct only after {detected:?}");
    assert!(p99 < Duration::from_millis(250), "staleness p99 is {p99:?}");
    assert!(rate >= COMMANDS_PER_SECOND_MIN as f64, "only {rate:.0} commands/s");

    let expected = placed.load(Ordering::Relaxed) + measured.len() as u64;
    let row = system.client().get("/queries/country_sales/France", &[]).expect("answered").json();
    assert_eq!(row["orders"], expected, "every order once");
    assert_eq!(system.stop(), Some(0));
    assert_verified(directory.path());
}
