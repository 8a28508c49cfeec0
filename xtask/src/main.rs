//! The project's own checks. `cargo xtask tidy` compares Cargo's graph, the folders and the documents with each other.

mod architecture;
mod error_pages;
mod graph;
mod text;
mod tidy;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(),
        _ => {
            eprintln!("usage: cargo xtask tidy");
            ExitCode::from(2)
        }
    }
}
