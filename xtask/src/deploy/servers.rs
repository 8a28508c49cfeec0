use super::{Deploy, Outcome, said_wrong, tools::Tool};

pub(super) fn haproxy(deploy: &Deploy) -> Outcome {
    let mut command = match deploy.tools.command(Tool::Haproxy) {
        Ok(command) => command,
        Err(skipped) => return skipped,
    };
    let said = said_wrong(command.arg("-c").arg("-f").arg(deploy.path("deploy/haproxy/haproxy.cfg")));
    Outcome::of(Vec::from_iter(said), "haproxy.cfg")
}

/// The file of the version that is installed: an older one knows less.
pub(super) fn nats(deploy: &Deploy) -> Outcome {
    let program = match deploy.tools.find(Tool::Nats) {
        Ok(program) => program,
        Err(skipped) => return skipped,
    };
    let version = std::process::Command::new(&program).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let file = if version.contains("v2.9.") { "deploy/nats/nats-2.9.conf" } else { "deploy/nats/nats.conf" };
    let mut command = std::process::Command::new(&program);
    command.env("NATS_RELAY_PASSWORD", "a").env("NATS_HANDLER_PASSWORD", "b");
    let said = said_wrong(command.args(["-t", "-c"]).arg(deploy.path(file)));
    Outcome::of(Vec::from_iter(said), format!("{file}, by {}", version.trim()))
}
