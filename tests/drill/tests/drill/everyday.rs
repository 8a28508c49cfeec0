use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use drill::{Drill, Options, Stage};

/// One system for all of them, one after the other: starting it takes longer than most drills. It ends with this process.
static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

fn promises_hold(drill: Drill, options: Options) {
    let mut stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    // One that a drill has failed on is not used again.
    let mut running = match stage.take() {
        Some(running) => running,
        None => Stage::start(Path::new(env!("CARGO_BIN_EXE_drill"))).expect("every box starts"),
    };
    let report = drill.run(&mut running, options).expect("it is carried out");
    println!("{report}");
    let broken: Vec<String> = report.broken_promises().map(|finding| format!("{finding:?}")).collect();
    assert_eq!(broken, [""; 0], "{report}");
    *stage = Some(running);
}

fn short(seconds: u64) -> Options {
    Options { span: Duration::from_secs(seconds), ..Options::default() }
}

#[test]
fn a_queue_that_is_suspended_killed_and_wiped_loses_and_doubles_nothing() {
    promises_hold(Drill::QueueOutage, short(2));
}

#[test]
fn whoever_is_killed_what_was_acknowledged_is_there_once() {
    promises_hold(Drill::Kills, short(1));
}

#[test]
fn a_thousand_clients_of_one_account_over_two_command_services_are_put_in_one_order() {
    promises_hold(Drill::TwoWriters, short(0));
}

#[test]
fn gateways_and_command_services_are_replaced_without_a_failed_request() {
    promises_hold(Drill::Replace, short(1));
}

#[test]
fn a_promoted_standby_begins_an_epoch_and_what_it_lacks_is_lost_and_counted() {
    promises_hold(Drill::Promotion, short(1));
}

#[test]
fn reads_are_shared_and_leave_the_command_database_alone() {
    promises_hold(Drill::ReadsApart, short(4));
}
