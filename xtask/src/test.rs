use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, ExitCode},
};

use cluster::Program;

use crate::before;

/// What tests start.
const NEEDED: [Program; 6] =
    [Program::Initdb, Program::Postgres, Program::PgBasebackup, Program::PgCtl, Program::Nats, Program::Haproxy];

/// Installs the servers that are missing, where that is allowed, builds the shop of before the newest migration, and runs all
/// tests. `arguments` go to `cargo test`.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    match install_missing().and_then(|()| tested(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("test: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn tested(arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let test = |arguments: &[String], flags: &[&str], before: &Path| {
        let mut command = Command::new(&cargo);
        command.args(["test", "--workspace", "--locked"]).args(flags).args(arguments).env(before::VARIABLE, before);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err("there are failures".to_owned()),
            Err(error) => Err(format!("cannot run cargo: {error}")),
        }
    };
    let before = before::shop(arguments, || test(arguments, &["--no-run"], Path::new("")))?;
    test(arguments, &[], &before.unwrap_or_default())
}

/// Installs the servers that are missing, where that is allowed.
pub(crate) fn install_missing() -> Result<(), String> {
    let missing: BTreeSet<&str> =
        NEEDED.iter().filter(|program| program.find().is_err()).map(|program| program.package()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing).map_err(|reason| {
        let packages: Vec<&str> = missing.iter().copied().collect();
        format!(
            "servers that are needed are not installed, and cannot be installed here: {reason}; on Debian run \
             `apt-get install {}` as root, then try again",
            packages.join(" ")
        )
    })
}

pub(crate) fn install(packages: &BTreeSet<&str>) -> Result<(), String> {
    let names: Vec<&str> = packages.iter().copied().collect();
    eprintln!("installing {}", names.join(" and "));
    as_root(&["apt-get", "--quiet", "update"])?;
    let mut arguments = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "install"];
    arguments.push("--no-install-recommends");
    arguments.extend(names);
    as_root(&arguments)
}

/// As root, or by sudo where it asks nothing.
fn as_root(command: &[&str]) -> Result<(), String> {
    let id = Command::new("id").arg("-u").output().map_err(|error| format!("cannot run id: {error}"))?;
    let by: &[&str] = if id.stdout.trim_ascii() == b"0" { &[] } else { &["sudo", "--non-interactive"] };
    let words: Vec<&str> = by.iter().chain(command).copied().collect();
    match Command::new(words[0]).args(&words[1..]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` ended with {status}", words.join(" "))),
        Err(error) => Err(format!("cannot run {}: {error}", words[0])),
    }
}
