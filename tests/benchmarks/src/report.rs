use std::process::Command;

use crate::Spread;

/// What the command line asks for: `--rounds N`, 5 without it, and names of figures, none for all.
#[must_use]
pub fn asked_for() -> (usize, Vec<String>) {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let rounds = arguments.iter().position(|argument| argument == "--rounds");
    let rounds = rounds.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(5);
    (rounds, arguments.into_iter().filter(|argument| argument.chars().all(char::is_alphabetic)).collect())
}

/// Builds the binaries that the figures are about, with the profile of the benchmarks.
///
/// # Panics
/// When they do not build.
pub fn build() {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "shop", "--package", "diptych-benchmarks", "--bins"])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the binaries do not build");
}

/// Prints what was measured for a goal, and whether that holds.
pub fn report(goal: &str, what: &str, spread: Spread, ship: f64, higher_is_better: bool) {
    let holds = if higher_is_better { spread.median >= ship } else { spread.median <= ship };
    let sign = if higher_is_better { "≥" } else { "≤" };
    println!("{goal:4} {what:62} {spread:>22}  ship {sign} {ship}: {}", if holds { "holds" } else { "MISSED" });
}

/// Prints a figure that no goal is about.
pub fn figure(what: &str, spread: Spread) {
    println!("     {what:62} {spread:>22}");
}
