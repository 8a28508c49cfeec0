//! The binary `shop`.

use std::process::ExitCode;

use clap::Command;
use shop::{feed, import};

fn main() -> ExitCode {
    let arguments = Command::new("shop")
        .about("A wholesaler's order book")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(import::command())
        .subcommand(feed::command())
        .get_matches();
    match arguments.subcommand() {
        Some(("import", arguments)) => import::run(arguments),
        Some(("feed", arguments)) => feed::run(arguments),
        _ => ExitCode::FAILURE,
    }
}
