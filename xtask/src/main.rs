//! The project's own checks. `cargo xtask tidy` compares Cargo's graph, the folders and the documents with each other;
//! `cargo xtask test` sees to the servers and the binary that tests start and runs all tests, and `cargo xtask before` to that
//! binary alone; `cargo xtask cluster` starts and removes a whole system of processes on this machine, and `cargo xtask drill`
//! holds a drill with such a system; `cargo xtask deploy` checks the files by which one is deployed.

mod architecture;
mod before;
mod cluster;
mod deploy;
mod drill;
mod error_pages;
mod graph;
mod test;
mod text;
mod tidy;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("tidy", [])) => tidy::run(),
        Some(("test", rest)) => test::run(rest),
        Some(("before", [])) => before::run(),
        Some(("cluster", [verb])) => cluster::run(verb),
        Some(("deploy", [])) => deploy::run(false),
        Some(("deploy", [flag])) if flag == "--install" => deploy::run(true),
        Some(("drill", arguments @ [_, ..])) => drill::run(arguments),
        _ => {
            eprintln!(
                "usage: cargo xtask tidy\n       cargo xtask test [ARGUMENTS OF cargo test]\n       cargo xtask before\n       cargo xtask cluster up|down\n       cargo xtask drill DRILL [ARGUMENTS], and `cargo xtask drill --help`\n       cargo xtask deploy [--install]"
            );
            ExitCode::from(2)
        }
    }
}
