use std::{fs, path::Path, process::Command};

use super::{Deploy, Outcome, said_wrong, tools::Tool};

const KUBERNETES: &str = "deploy/kubernetes/";
const KUSTOMIZATION: &str = "kustomization.yaml";

/// Without kustomize at hand, a file that was moved is found all the same; and one that no kustomization names.
pub(super) fn named(deploy: &Deploy) -> Outcome {
    let mut wrong = Vec::new();
    let mut named = Vec::new();
    let mut kustomizations = 0;
    for file in deploy.ending(KUBERNETES, KUSTOMIZATION) {
        kustomizations += 1;
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for name in names(&file.text) {
            let path = deploy.root.join(folder).join(name);
            match path.canonicalize() {
                Ok(path) if path.is_dir() && !path.join(KUSTOMIZATION).is_file() => {
                    wrong.push(format!("{}: {name} has no {KUSTOMIZATION}", file.path));
                }
                Ok(path) => named.push(path),
                Err(_) => wrong.push(format!("{}: there is no {name}", file.path)),
            }
        }
    }
    for file in deploy.files.iter().filter(|file| file.path.starts_with(KUBERNETES)) {
        let is_known = file.path.ends_with(KUSTOMIZATION)
            || deploy.path(&file.path).canonicalize().is_ok_and(|path| named.contains(&path));
        if !is_known {
            wrong.push(format!("{} is named by no {KUSTOMIZATION}", file.path));
        }
    }
    Outcome::of(wrong, format!("{} names in {kustomizations} kustomizations", named.len()))
}

/// What a kustomization names of other files: items that are nothing but a name, and the paths of patches.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let item = line.trim().strip_prefix("- ")?;
        let name = item.strip_prefix("path: ").unwrap_or(item);
        let is_name = name.contains('/') || name.ends_with(".yaml") || name.ends_with(".env");
        (is_name && !name.contains(": ")).then_some(name)
    })
}

pub(super) fn compose(deploy: &Deploy) -> Outcome {
    let mut command = match deploy.tools.command(Tool::CheckJsonschema) {
        Ok(command) => command,
        Err(skipped) => return skipped,
    };
    command.args(["--builtin-schema", "vendor.compose-spec"]).arg(deploy.path("deploy/compose.yaml"));
    Outcome::of(Vec::from_iter(said_wrong(&mut command)), "against the schema that comes with it")
}

/// What is applied: each of these is made of several files.
const APPLIED: [&str; 3] = ["overlays/embedded", "overlays/distributed", "migrate"];

pub(super) fn rendered(deploy: &Deploy) -> Outcome {
    let found = deploy.tools.find(Tool::Kubectl).and_then(|kubectl| {
        let validate = deploy.tools.find(Tool::KubernetesValidate)?;
        Ok((kubectl, validate))
    });
    let (kubectl, validate) = match found {
        Ok(found) => found,
        Err(skipped) => return skipped,
    };
    let mut wrong = Vec::new();
    for applied in APPLIED {
        let folder = deploy.path(KUBERNETES).join(applied);
        let made = match Command::new(&kubectl).arg("kustomize").arg(&folder).output() {
            Ok(output) if output.status.success() => output.stdout,
            Ok(output) => {
                wrong.push(format!("{applied}: {}", String::from_utf8_lossy(&output.stderr).trim()));
                continue;
            }
            Err(error) => return Outcome::Failed(vec![format!("cannot run kubectl: {error}")]),
        };
        let path = deploy.scratch.join("made.yaml");
        if let Err(error) = fs::write(&path, made) {
            return Outcome::Failed(vec![format!("cannot write {}: {error}", path.display())]);
        }
        let said = said_wrong(Command::new(&validate).args(["--strict", "--quiet"]).arg(&path));
        wrong.extend(said.map(|said| format!("{applied}: {said}")));
    }
    Outcome::of(wrong, APPLIED.join(", "))
}

/// Each file as it lies there, also where nobody can put them together. A patch is no whole thing, and is left out.
pub(super) fn each(deploy: &Deploy) -> Outcome {
    let mut command = match deploy.tools.command(Tool::KubernetesValidate) {
        Ok(command) => command,
        Err(skipped) => return skipped,
    };
    let is_whole = |text: &str| !text.contains("kind: Kustomization") && !text.contains("kind: Component");
    let is_patch =
        |path: &str| ["/confined.yaml", "/probed.yaml", "/spread.yaml"].iter().any(|end| path.ends_with(end));
    let files = deploy.ending(KUBERNETES, ".yaml").filter(|file| is_whole(&file.text) && !is_patch(&file.path));
    let files: Vec<_> = files.map(|file| deploy.path(&file.path)).collect();
    let said = said_wrong(command.args(["--strict", "--quiet"]).args(&files));
    Outcome::of(Vec::from_iter(said), format!("{} files", files.len()))
}

pub(super) fn lint(deploy: &Deploy) -> Outcome {
    let mut command = match deploy.tools.command(Tool::Yamllint) {
        Ok(command) => command,
        Err(skipped) => return skipped,
    };
    let files: Vec<_> = deploy
        .files
        .iter()
        .filter(|file| file.path.ends_with(".yaml") || file.path.ends_with(".yml"))
        .map(|file| deploy.path(&file.path))
        .collect();
    let said = said_wrong(command.arg("--strict").arg("-c").arg(deploy.path(".yamllint.yaml")).args(&files));
    Outcome::of(Vec::from_iter(said), format!("{} files", files.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kustomization_names_files_folders_and_patches() {
        let text = "resources:\n  - ../base\n  - a.yaml\npatches:\n  - path: b.yaml\n    target:\n      kind: Deployment\nconfigMapGenerator:\n  - name: settings\n    envs:\n      - c.env\n";
        assert_eq!(names(text).collect::<Vec<_>>(), ["../base", "a.yaml", "b.yaml", "c.env"]);
    }
}
