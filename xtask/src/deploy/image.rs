use std::{fs, process::Command};

use super::{Deploy, Outcome, said_wrong, tools::Tool};

const DOCKERFILE: &str = "deploy/Dockerfile";

/// Builds the stage that is shipped, from an empty file in the place of what the stage before it builds: that one begins with an
/// image from a network. What the image is configured to be is then what is looked at.
pub(super) fn check(deploy: &Deploy) -> Outcome {
    let program = match deploy.tools.find(Tool::Buildah) {
        Ok(program) => program,
        Err(skipped) => return skipped,
    };
    let folder = deploy.scratch.join("image");
    let text = deploy.text(DOCKERFILE);
    let Some(start) = text.rfind("FROM scratch") else {
        return Outcome::Failed(vec![format!("{DOCKERFILE} ends in no stage `FROM scratch`")]);
    };
    let stage = text[start..].replace("--from=build ", "");
    let written = fs::create_dir_all(folder.join("image/data"))
        .and_then(|()| fs::write(folder.join("image/shop"), ""))
        .and_then(|()| fs::write(folder.join("Dockerfile"), stage));
    if let Err(error) = written {
        return Outcome::Failed(vec![format!("cannot write {}: {error}", folder.display())]);
    }
    // Nothing of it stays, and nothing that is there of other images is looked at.
    let storage = ["--root", "storage", "--runroot", "running", "--storage-driver", "vfs"];
    let buildah = || {
        let mut command = Command::new(&program);
        command.current_dir(&folder).args(storage);
        command
    };
    let arguments = ["build", "--quiet", "--isolation", "chroot", "--format", "docker", "--tag", "shop", "."];
    if let Some(said) = said_wrong(buildah().args(arguments)) {
        return Outcome::Failed(vec![said]);
    }
    let output = match buildah().args(["inspect", "--type", "image", "shop"]).output() {
        Ok(output) => output,
        Err(error) => return Outcome::Failed(vec![format!("cannot run buildah: {error}")]),
    };
    let image: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let config = &image["Docker"]["config"];
    let expected = [("User", "65532:65532"), ("StopSignal", "SIGTERM")];
    let mut wrong: Vec<String> = Vec::new();
    for (key, value) in expected {
        if config[key] != value {
            wrong.push(format!("{key} is {}, not {value}", config[key]));
        }
    }
    if config["Entrypoint"] != serde_json::json!(["/shop"]) {
        wrong.push(format!("Entrypoint is {}, not /shop alone", config["Entrypoint"]));
    }
    Outcome::of(wrong, "user, entry point and signal of `FROM scratch`; the stage before needs a network")
}
