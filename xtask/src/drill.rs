use std::process::{Command, ExitCode};

/// Builds the drills and holds one; `arguments` are its name and what else it takes. The exit code is the drill's: 3 where
/// something did not hold.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if let Err(reason) = crate::test::install_missing() {
        eprintln!("drill: {reason}");
        return ExitCode::FAILURE;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = ["run", "--quiet", "--release", "--locked", "--package", "diptych-drill", "--", "run"];
    match Command::new(cargo).args(run).args(arguments).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("drill: cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
