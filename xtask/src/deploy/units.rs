use std::{
    fs,
    process::{Command, Output},
};

use super::{Deploy, Outcome, tools::Tool};

/// The most that a unit may be exposed, of systemd's hundred. A unit that says nothing has 84.
const EXPOSURE_MAX: &str = "30";

/// Of each unit, with the application's binary in the place where it will be.
pub(super) fn verify(deploy: &Deploy) -> Outcome {
    let place = |text: &str| text.replace("/usr/bin/shop", &deploy.shop.display().to_string());
    each(deploy, &[".service", ".socket"], place, &["verify"])
}

/// Fails for a unit that is exposed more than it has to be.
pub(super) fn security(deploy: &Deploy) -> Outcome {
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    each(deploy, &[".service"], str::to_owned, &["security", "--offline=true", "--no-pager", &threshold])
}

fn each(deploy: &Deploy, endings: &[&str], change: impl Fn(&str) -> String, arguments: &[&str]) -> Outcome {
    let program = match deploy.tools.find(Tool::SystemdAnalyze) {
        Ok(program) => program,
        Err(skipped) => return skipped,
    };
    let (mut wrong, mut count) = (Vec::new(), 0);
    let units = endings.iter().flat_map(|ending| deploy.ending("deploy/systemd/", ending));
    for file in units {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        // They name each other: a socket is found with its service.
        let unit = deploy.scratch.join(name);
        if let Err(error) = fs::write(&unit, change(&file.text)) {
            wrong.push(format!("cannot write {}: {error}", unit.display()));
            continue;
        }
        match Command::new(&program).args(arguments).arg(&unit).output() {
            Ok(output) => wrong.extend(complaints(&output, name).map(|said| format!("{}: {said}", file.path))),
            Err(error) => wrong.push(format!("cannot run systemd-analyze: {error}")),
        }
        count += 1;
    }
    Outcome::of(wrong, format!("{count} units"))
}

/// What is said of this unit. An unknown key is no failure to systemd, and other units of this machine are not ours to mend. Of
/// a table, the last line has the sum.
fn complaints(output: &Output, name: &str) -> impl Iterator<Item = String> + use<> {
    let stem = name.trim_end_matches(".service").trim_end_matches(".socket").to_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    let mut complaints: Vec<String> = said.lines().filter(|line| line.contains(&stem)).map(str::to_owned).collect();
    if !output.status.success() && complaints.is_empty() {
        let said = if output.stdout.is_empty() { said } else { String::from_utf8_lossy(&output.stdout) };
        complaints.extend(said.lines().last().map(str::to_owned));
    }
    complaints.into_iter()
}
