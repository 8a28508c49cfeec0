use std::process::Command;

use super::{Deploy, Outcome};

/// Each role that the application knows has settings for its unit, a container, a Deployment that is part of the overlay, and a
/// policy; and nothing has a place that is no role.
pub(super) fn check(deploy: &Deploy) -> Outcome {
    let roles = match known(deploy) {
        Ok(roles) => roles,
        Err(reason) => return Outcome::Failed(vec![reason]),
    };
    let overlay = "deploy/kubernetes/overlays/distributed";
    let mut wrong = Vec::new();
    let mut has = |path: String, lines: &[String]| {
        let text = deploy.text(&path);
        let missing = lines.iter().filter(|line| !text.lines().any(|there| there.trim() == line.as_str()));
        wrong.extend(missing.map(|line| format!("{path} lacks the line `{line}`")));
    };
    for role in &roles {
        has(format!("deploy/systemd/env/{role}.env"), &["RUST_LOG=info".to_owned()]);
        let runs = format!("[\"serve\", \"--role\", \"{role}\"]");
        has("deploy/compose.yaml".to_owned(), &[format!("{role}:"), format!("command: {runs}")]);
        has(format!("{overlay}/boxes/{role}.yaml"), &[format!("name: {role}"), format!("args: {runs}")]);
        let parts = [format!("- boxes/{role}.yaml"), format!("- policies/{role}.yaml")];
        has(format!("{overlay}/kustomization.yaml"), &parts);
    }
    for unit in ["shop@.service", "shop.service", "shop-migrate.service"] {
        has(format!("deploy/systemd/{unit}"), &["DynamicUser=yes".to_owned()]);
    }
    let folder = format!("{overlay}/boxes/");
    let boxes = deploy.ending(&folder, ".yaml");
    let strange = boxes.filter(|file| !roles.iter().any(|role| file.path.ends_with(&format!("/{role}.yaml"))));
    wrong.extend(strange.map(|file| format!("{} is of no role", file.path)));
    Outcome::of(wrong, roles.join(", "))
}

/// As the application itself lists them where it is asked for one that there is not.
fn known(deploy: &Deploy) -> Result<Vec<String>, String> {
    let output = Command::new(&deploy.shop).args(["serve", "--role", "none"]).output();
    let output = output.map_err(|error| format!("cannot run the shop: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let listed = said.split_once("[possible values: ").and_then(|(_, rest)| rest.split_once(']'));
    let (listed, _) = listed.ok_or_else(|| format!("`shop serve --role none` lists no roles: {said}"))?;
    Ok(listed.split(", ").map(str::to_owned).collect())
}
