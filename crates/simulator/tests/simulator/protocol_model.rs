//! The protocol as a golden test: it holds, and each rule of it is needed.

use simulator::protocol_model::{Bug, Profile, Reached, run};

const SEEDS: u64 = 1_500;

/// The first seed below `seeds` that shows the bug.
fn first_seed_that_finds(bug: Bug, profile: Profile, seeds: u64) -> Option<u64> {
    (0..seeds).find(|&seed| run(seed, profile, Some(bug)).is_err())
}

fn sum_over_all_seeds(profile: Profile) -> Reached {
    let mut sum = Reached::default();
    for seed in 0..SEEDS {
        let one = run(seed, profile, None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        sum.appended += one.appended;
        sum.applied += one.applied;
        sum.fenced += one.fenced;
        sum.hole_reads += one.hole_reads;
        sum.polled += one.polled;
        sum.cut_backs += one.cut_backs;
        sum.dead_branch += one.dead_branch;
        sum.rebuilds += one.rebuilds;
        sum.crashes += one.crashes;
    }
    sum
}

#[test]
fn the_protocol_holds_while_everything_around_it_fails() {
    let reached = sum_over_all_seeds(Profile::safety_net());
    println!("{reached:?}");
    // A model that never came by these states would prove nothing about them.
    for (state, times) in [
        ("append", reached.appended),
        ("apply", reached.applied),
        ("fenced commit", reached.fenced),
        ("hole read", reached.hole_reads),
        ("poll that found something", reached.polled),
        ("log cut back", reached.cut_backs),
        ("message from a dead branch", reached.dead_branch),
        ("rebuild", reached.rebuilds),
        ("crash", reached.crashes),
    ] {
        assert!(times > 1_000, "{state} was reached {times} times in {SEEDS} seeds");
    }
}

#[test]
fn the_queue_alone_brings_everything_when_it_keeps_what_it_acknowledged() {
    let reached = sum_over_all_seeds(Profile::queue_alone());
    println!("{reached:?}");
    assert_eq!((reached.hole_reads, reached.polled), (0, 0));
    assert!(reached.applied > reached.appended / 2 && reached.rebuilds > 1_000 && reached.fenced > 1_000);
}

#[test]
fn taking_away_any_rule_is_noticed_within_a_few_seeds() {
    for bug in Bug::OF_THE_PROTOCOL {
        let found = first_seed_that_finds(bug, Profile::safety_net(), 20);
        println!("{bug:?}: seed {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}

/// The lesson: the safety net is so good that a broken queue path looks healthy above it.
#[test]
fn the_head_poll_hides_a_broken_queue_path() {
    for bug in Bug::OF_THE_QUEUE_PATH {
        let found = first_seed_that_finds(bug, Profile::safety_net(), 300);
        assert_eq!(found, None, "{bug:?} shows under the head poll");
    }
}

#[test]
fn without_the_head_poll_a_broken_queue_path_shows() {
    for bug in Bug::OF_THE_QUEUE_PATH {
        let found = first_seed_that_finds(bug, Profile::queue_alone(), 20);
        println!("{bug:?}: seed {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed, Profile::safety_net(), None), run(seed, Profile::safety_net(), None), "seed {seed}");
    }
}
