//! The shop's aggregates with no read model at all: what commands cost by themselves.

use std::process::ExitCode;

fn main() -> ExitCode {
    diptych::App::new("shop").aggregate::<shop::domain::order::Order>().run()
}
