//! Many seeds, and how to come back to the one that failed.

use std::{
    any::Any,
    env,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use crate::Simulation;

const SEED_VARIABLE: &str = "DIPTYCH_SEED";
/// Every so many seeds the scenario runs twice, to show that it depends on its seed alone.
const REPEAT_EVERY: u64 = 50;

/// Runs `scenario` once for each seed. With `DIPTYCH_SEED=17` in the environment it runs for seed 17 only.
///
/// Every 50th seed runs twice and has to leave the same trace, as has the seed of a replay.
///
/// # Panics
/// At the first seed for which `scenario` panics, or leaves two traces. The message says how to replay it.
pub fn check(seeds: Range<u64>, scenario: impl Fn(&mut Simulation)) {
    check_all(seed_to_replay(), seeds, scenario);
}

fn check_all(replay: Option<u64>, seeds: Range<u64>, scenario: impl Fn(&mut Simulation)) {
    match replay {
        Some(seed) => check_one(seed, true, &scenario),
        None => seeds.for_each(|seed| check_one(seed, seed.is_multiple_of(REPEAT_EVERY), &scenario)),
    }
}

fn check_one(seed: u64, twice: bool, scenario: &impl Fn(&mut Simulation)) {
    let first = trace_of(seed, scenario);
    if twice && trace_of(seed, scenario) != first {
        panic!("{}", report(seed, "two runs left two traces: the scenario depends on something beside its seed"));
    }
}

fn trace_of(seed: u64, scenario: &impl Fn(&mut Simulation)) -> u64 {
    let mut simulation = Simulation::new(seed);
    match catch_unwind(AssertUnwindSafe(|| scenario(&mut simulation))) {
        Ok(()) => simulation.trace_hash(),
        Err(panic) => panic!("{}", report(seed, message_of(&*panic))),
    }
}

fn report(seed: u64, message: &str) -> String {
    // The test harness names the thread of a test after it.
    let current = thread::current();
    let test = current.name().filter(|name| *name != "main").unwrap_or_default();
    format!("{message}\nreplay seed {seed}: {SEED_VARIABLE}={seed} cargo test {test}")
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the scenario panicked")
}

fn seed_to_replay() -> Option<u64> {
    let value = env::var(SEED_VARIABLE).ok()?;
    match value.parse() {
        Ok(seed) => Some(seed),
        Err(error) => panic!("{SEED_VARIABLE}={value} is no seed ({error}): give a whole number"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::check_all;

    fn seeds_run(replay: Option<u64>) -> Vec<u64> {
        let seeds = RefCell::new(Vec::new());
        check_all(replay, 49..52, |simulation| seeds.borrow_mut().push(simulation.seed()));
        seeds.into_inner()
    }

    #[test]
    fn every_fiftieth_seed_runs_twice() {
        assert_eq!(seeds_run(None), [49, 50, 50, 51]);
    }

    #[test]
    fn a_replay_runs_its_seed_alone_and_twice() {
        assert_eq!(seeds_run(Some(17)), [17, 17]);
    }
}
