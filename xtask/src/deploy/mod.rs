//! What lies in `deploy/`, checked without a network: by ourselves, against the application's own binary and ARCHITECTURE.md,
//! and by the tools of those who will read it, where they are installed.

mod alerts; // Prometheus
mod image; // the Dockerfile's last stage
mod manifests; // Kubernetes
mod policies; // who may talk to whom, as the diagram has it
mod roles; // each role has a place to run
mod servers; // configurations of HAProxy and NATS
mod settings; // names and values of variables
mod tools; // what others have written
mod units; // systemd

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use self::tools::Tools;
use crate::workspace::{self, File};

/// How one check ended.
pub(crate) enum Outcome {
    /// With what was looked at.
    Passed(String),
    /// Its tool is missing.
    Skipped(String),
    /// With what is wrong, a line each.
    Failed(Vec<String>),
}

impl Outcome {
    fn of(wrong: Vec<String>, passed: impl Into<String>) -> Self {
        if wrong.is_empty() { Self::Passed(passed.into()) } else { Self::Failed(wrong) }
    }
}

/// What checks look at.
struct Deploy {
    root: PathBuf,
    /// Those in `deploy/`.
    files: Vec<File>,
    architecture: String,
    /// The application that is deployed.
    shop: PathBuf,
    /// Removed in the end.
    scratch: PathBuf,
    tools: Tools,
}

/// `installs` the tools that are missing, where that is allowed.
pub(crate) fn run(installs: bool) -> ExitCode {
    let deploy = match Deploy::read(installs) {
        Ok(deploy) => deploy,
        Err(reason) => {
            eprintln!("deploy: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let (mut failed, mut skipped) = (0, Vec::new());
    for (name, check) in CHECKS {
        match check(&deploy) {
            Outcome::Passed(what) => println!("passed   {name}: {what}"),
            Outcome::Skipped(why) => skipped.push(format!("{name}: {why}")),
            Outcome::Failed(wrong) => {
                failed += 1;
                wrong.iter().for_each(|line| eprintln!("FAILED   {name}: {line}"));
            }
        }
    }
    skipped.iter().for_each(|what| println!("SKIPPED  {what}"));
    let _ = std::fs::remove_dir_all(&deploy.scratch);
    println!("deploy: {} passed, {failed} failed, {} skipped", CHECKS.len() - failed - skipped.len(), skipped.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Check = fn(&Deploy) -> Outcome;

const CHECKS: [(&str, Check); 16] = [
    ("every variable is a setting, with a value that it takes", settings::check),
    ("every role has a place to run, in all three ways", roles::check),
    ("pods talk along the arrows of ARCHITECTURE.md", policies::check),
    ("every file that a kustomization names is there", manifests::named),
    ("every metric that a rule asks for is there", alerts::metrics),
    ("systemd-analyze verify", units::verify),
    ("systemd-analyze security", units::security),
    ("check-jsonschema on compose.yaml", manifests::compose),
    ("kustomize, and kubernetes-validate on what it makes", manifests::rendered),
    ("kubernetes-validate on each file", manifests::each),
    ("yamllint", manifests::lint),
    ("the image's last stage, by buildah", image::check),
    ("haproxy -c", servers::haproxy),
    ("nats-server -t", servers::nats),
    ("promtool", alerts::rules),
    ("shellcheck", tools::shellcheck),
];

impl Deploy {
    fn read(installs: bool) -> Result<Self, String> {
        let root = workspace::root()?;
        let tools = Tools::new(&root, installs);
        let files = workspace::files()?;
        let architecture = files.iter().find(|file| file.path == "ARCHITECTURE.md").map(|file| file.text.clone());
        let files: Vec<File> = files.into_iter().filter(|file| file.path.starts_with("deploy/")).collect();
        let scratch = env::temp_dir().join(format!("diptych-deploy-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).map_err(|error| format!("cannot make {}: {error}", scratch.display()))?;
        let architecture = architecture.ok_or("ARCHITECTURE.md is missing")?;
        Ok(Self { shop: build()?, root, files, architecture, scratch, tools })
    }

    /// A file's text; empty where there is none.
    fn text(&self, path: &str) -> &str {
        self.files.iter().find(|file| file.path == path).map_or("", |file| &file.text)
    }

    /// Those with this ending in a folder of `deploy/`.
    fn ending(&self, folder: &str, ending: &str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.path.starts_with(folder) && file.path.ends_with(ending))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }
}

/// The shop as tests have it: beside this program.
fn build() -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "--locked", "--package", "shop"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the shop does not build".to_owned());
    }
    let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let folder = program.parent().map(Path::to_owned).ok_or("this program lies in no folder")?;
    Ok(folder.join("shop"))
}

/// Runs a command to its end: what it said, if it failed.
fn said_wrong(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let (said, also) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
            Some(format!("{}{}", said.trim(), also.trim()))
        }
        Err(error) => Some(format!("cannot run {}: {error}", command.get_program().display())),
    }
}
