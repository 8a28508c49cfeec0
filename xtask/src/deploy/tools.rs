use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Deploy, Outcome, said_wrong};
use crate::test;

/// A program of others, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    SystemdAnalyze,
    CheckJsonschema,
    Kubectl,
    KubernetesValidate,
    Yamllint,
    Buildah,
    Haproxy,
    Nats,
    Promtool,
    Shellcheck,
}

use Tool::{
    Buildah, CheckJsonschema, Haproxy, Kubectl, KubernetesValidate, Nats, Promtool, Shellcheck, SystemdAnalyze,
    Yamllint,
};

const ALL: [Tool; 10] = [
    SystemdAnalyze,
    CheckJsonschema,
    Kubectl,
    KubernetesValidate,
    Yamllint,
    Buildah,
    Haproxy,
    Nats,
    Promtool,
    Shellcheck,
];

/// Where a tool is installed from.
enum Source {
    /// Debian's package.
    Debian(&'static str),
    /// What pip is asked for.
    Python(&'static str),
    /// None that is asked for here.
    Elsewhere,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            SystemdAnalyze => "systemd-analyze",
            CheckJsonschema => "check-jsonschema",
            Kubectl => "kubectl",
            KubernetesValidate => "kubernetes-validate",
            Yamllint => "yamllint",
            Buildah => "buildah",
            Haproxy => "haproxy",
            Nats => "nats-server",
            Promtool => "promtool",
            Shellcheck => "shellcheck",
        }
    }

    fn source(self) -> Source {
        match self {
            SystemdAnalyze => Source::Debian("systemd"),
            CheckJsonschema => Source::Python("check-jsonschema==0.39.0"),
            KubernetesValidate => Source::Python("kubernetes-validate==1.37.0"),
            // Debian's is too old to make what the overlays ask for.
            Kubectl => Source::Elsewhere,
            Yamllint => Source::Debian("yamllint"),
            Buildah => Source::Debian("buildah"),
            Haproxy => Source::Debian("haproxy"),
            Nats => Source::Debian("nats-server"),
            Promtool => Source::Debian("prometheus"),
            Shellcheck => Source::Debian("shellcheck"),
        }
    }
}

/// Those that are installed.
pub(super) struct Tools {
    /// Where pip installs: beside what Cargo builds.
    python: PathBuf,
}

impl Tools {
    /// `installs` what is missing, where that is allowed; what cannot be had is said, and its checks are skipped.
    pub(super) fn new(root: &Path, installs: bool) -> Self {
        let program = env::current_exe().ok();
        let built = program.as_deref().and_then(Path::parent).and_then(Path::parent);
        let tools = Self { python: built.map_or_else(|| root.join("target"), Path::to_owned).join("deploy-tools") };
        if installs {
            tools.install();
        }
        tools
    }

    pub(super) fn find(&self, tool: Tool) -> Result<PathBuf, Outcome> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [self.python.join("bin")].into_iter().chain(env::split_paths(&path));
        let mut folders = folders.chain([PathBuf::from("/usr/sbin")]).map(|folder| folder.join(tool.name()));
        folders.find(|program| program.is_file()).ok_or_else(|| {
            let name = tool.name();
            Outcome::Skipped(match tool.source() {
                Source::Debian(package) => format!("{name} is not installed, Debian's package {package} has it"),
                Source::Python(package) => format!("{name} is not installed, `pip install {package}` brings it"),
                Source::Elsewhere => format!("{name} is not installed"),
            })
        })
    }

    pub(super) fn command(&self, tool: Tool) -> Result<Command, Outcome> {
        self.find(tool).map(Command::new)
    }

    fn install(&self) {
        let missing: Vec<Tool> = ALL.into_iter().filter(|tool| self.find(*tool).is_err()).collect();
        let debian = |tool: &Tool| if let Source::Debian(package) = tool.source() { Some(package) } else { None };
        let packages: BTreeSet<&str> = missing.iter().filter_map(debian).collect();
        if !packages.is_empty()
            && let Err(reason) = test::install(&packages)
        {
            eprintln!("deploy: cannot install {}: {reason}", Vec::from_iter(packages).join(" "));
        }
        let python = |tool: &Tool| if let Source::Python(package) = tool.source() { Some(package) } else { None };
        let packages: Vec<&str> = missing.iter().filter_map(python).collect();
        if !packages.is_empty() {
            let wrong = said_wrong(Command::new("python3").args(["-m", "venv"]).arg(&self.python)).or_else(|| {
                said_wrong(Command::new(self.python.join("bin/pip")).args(["install", "--quiet"]).args(&packages))
            });
            if let Some(said) = wrong {
                eprintln!("deploy: cannot install {}: {said}", packages.join(" "));
            }
        }
    }
}

pub(super) fn shellcheck(deploy: &Deploy) -> Outcome {
    let mut command = match deploy.tools.command(Shellcheck) {
        Ok(command) => command,
        Err(skipped) => return skipped,
    };
    let scripts: Vec<PathBuf> = deploy.ending("deploy/", ".sh").map(|file| deploy.path(&file.path)).collect();
    let wrong = said_wrong(command.args(&scripts));
    Outcome::of(Vec::from_iter(wrong), format!("{} scripts", scripts.len()))
}
