use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// One crate of the workspace. Crates are named by their folders, such as `components/api-gateway`.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) folder: String,
    /// Folders of the crates of ours that it needs to build.
    pub(crate) needs: BTreeSet<String>,
    /// Folders of the crates of ours that its tests need.
    pub(crate) tests_need: BTreeSet<String>,
    pub(crate) inherits_lints: bool,
}

/// One tracked text file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the project's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The crates of the workspace, as Cargo sees them.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let json =
        output(Command::new(cargo).args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&json).map_err(|error| format!("cargo metadata: {error}"))?;
    let root = metadata["workspace_root"].as_str().ok_or("cargo metadata names no workspace root")?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    packages
        .iter()
        .map(|package| {
            let manifest = package["manifest_path"].as_str().ok_or("a package without a manifest")?;
            let text = std::fs::read_to_string(manifest).map_err(|error| format!("cannot read {manifest}: {error}"))?;
            parse(package, root, &text).ok_or_else(|| format!("{manifest} lies outside of {root}"))
        })
        .collect()
}

fn parse(package: &Value, root: &str, manifest: &str) -> Option<Package> {
    let inside = |path: &str| Path::new(path).strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned);
    let folder = inside(Path::new(package["manifest_path"].as_str()?).parent()?.to_str()?)?;
    let (mut needs, mut tests_need) = (BTreeSet::new(), BTreeSet::new());
    for dependency in package["dependencies"].as_array()? {
        if let Some(ours) = dependency["path"].as_str().and_then(inside) {
            match dependency["kind"].as_str() {
                Some("dev") => tests_need.insert(ours),
                _ => needs.insert(ours),
            };
        }
    }
    Some(Package { folder, needs, tests_need, inherits_lints: inherits_lints(manifest) })
}

/// Whether the section `[lints]` of a manifest says `workspace = true`.
fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        section == "[lints]" && line.replace(' ', "") == "workspace=true"
    })
}

/// The project's folder.
pub(crate) fn root() -> Result<PathBuf, String> {
    Ok(PathBuf::from(output(Command::new("git").args(["rev-parse", "--show-toplevel"]))?.trim_end()))
}

/// Every tracked file that is text.
pub(crate) fn files() -> Result<Vec<File>, String> {
    let root = root()?;
    let listed = output(Command::new("git").arg("-C").arg(&root).args(["ls-files", "-z"]))?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    // What is not UTF-8 is no text, and what is deleted but not yet committed is no file.
    let read = |path: &str| Some(File { path: path.to_owned(), text: std::fs::read_to_string(root.join(path)).ok()? });
    Ok(paths.filter_map(read).collect())
}

/// What a program prints that ends well.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{command:?} did not print UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_folder_and_those_it_needs() {
        let package = serde_json::json!({
            "manifest_path": "/p/components/a/Cargo.toml",
            "dependencies": [
                { "name": "b", "kind": null, "path": "/p/components/b" },
                { "name": "c", "kind": "build", "path": "/p/crates/c" },
                { "name": "t", "kind": "dev", "path": "/p/crates/t" },
                { "name": "serde", "kind": null },
            ],
        });
        let parsed = parse(&package, "/p", "[lints]\nworkspace = true").expect("it lies inside");
        assert_eq!(parsed.folder, "components/a");
        assert_eq!(parsed.needs, BTreeSet::from(["components/b".to_owned(), "crates/c".to_owned()]));
        assert_eq!(parsed.tests_need, BTreeSet::from(["crates/t".to_owned()]));
        assert!(parsed.inherits_lints);
    }

    #[test]
    fn only_the_section_lints_says_whether_lints_are_inherited() {
        assert!(inherits_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace=true\n"));
        assert!(!inherits_lints("[dependencies.a]\nworkspace = true\n"));
        assert!(!inherits_lints("[lints]\n[dependencies.a]\nworkspace = true\n"));
    }
}
