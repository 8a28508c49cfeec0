//! The shop as it was just before the newest migration: a test runs it beside today's, on the same databases.
#![allow(clippy::disallowed_methods, reason = "a tool of its own, outside of what the simulator owns")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde_json::Value;

use crate::{
    cluster::{built, failed},
    workspace::output,
};

/// Names the binary to the test. Empty where there is no history to make it from.
pub(crate) const VARIABLE: &str = "DIPTYCH_SHOP_BEFORE";

/// A migration of the log is a file.
const LOG: &str = ":(glob)components/*/src/**/migrations/*.sql";
/// A migration of the rows is another number in a line of one.
const ROWS: &str = "components/query-database/src/postgres/schema.rs";
const ROWS_LINE: &str = "-G^const FORMAT: i32 = [0-9]+;";

/// What the history has.
enum Before {
    /// The commit.
    Commit(String),
    /// Nothing, for a reason that is no fault.
    Nothing(&'static str),
}

/// Builds it, and prints where it is.
pub(crate) fn run() -> ExitCode {
    match shop(&[], || Ok(())) {
        Ok(Some(binary)) => {
            println!("{}", binary.display());
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("before: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The binary, built where it is not yet there, after `prepare`: what that has built of others' packages serves here as well.
/// `None` where there is no history, which is said. `arguments` are those of `cargo test`: the profile is the same.
pub(crate) fn shop(
    arguments: &[String],
    prepare: impl FnOnce() -> Result<(), String>,
) -> Result<Option<PathBuf>, String> {
    let root = root()?;
    let commit = match look(&root)? {
        Before::Commit(commit) => commit,
        Before::Nothing(reason) => {
            eprintln!("SKIPPED: the test that runs the shop of before the newest migration beside today's: {reason}");
            return Ok(None);
        }
    };
    let folder = built()?.join("before");
    let binary = folder.join(&commit).join("shop");
    if !binary.is_file() {
        prepare()?;
        let is_release =
            arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--release");
        build(&root, &commit, is_release, &folder.join("draft"), &binary)?;
    }
    Ok(Some(binary))
}

/// The project's folder, be it under Git or not.
fn root() -> Result<PathBuf, String> {
    let own = env::var_os("CARGO_MANIFEST_DIR").ok_or("start it by `cargo xtask`")?;
    Path::new(&own).parent().map(Path::to_owned).ok_or_else(|| "the project lies in no folder".to_owned())
}

fn git(root: &Path, arguments: &[&str]) -> Result<String, String> {
    Ok(output(Command::new("git").arg("-C").arg(root).args(arguments))?.trim().to_owned())
}

/// Finds the newest migration, and what was before it.
fn look(root: &Path) -> Result<Before, String> {
    // A folder of sources within somebody else's history has none of its own either.
    if !root.join(".git").exists() {
        return Ok(Before::Nothing("this is a tree without a history"));
    }
    // One that is being written is the newest.
    let written = git(root, &["status", "--porcelain", "--untracked-files=all", "--", LOG])?;
    let is_written = written.lines().any(|line| line.starts_with("??") || line.starts_with('A'))
        || !git(root, &["diff", "HEAD", "--name-only", ROWS_LINE, "--", ROWS])?.is_empty();
    if is_written {
        return git(root, &["rev-parse", "HEAD"]).map(Before::Commit);
    }
    let log = git(root, &["log", "-1", "--format=%H", "--diff-filter=A", "--", LOG])?;
    let rows = git(root, &["log", "-1", "--format=%H", ROWS_LINE, "--", ROWS])?;
    let both: Vec<&str> = [log.as_str(), rows.as_str()].into_iter().filter(|commit| !commit.is_empty()).collect();
    if both.is_empty() {
        return Err("the history has no migration at all".to_owned());
    }
    let newest = git(root, &[&["rev-list", "--topo-order", "--max-count=1"], &*both].concat())?;
    let parents = git(root, &["rev-list", "--parents", "--max-count=1", &newest])?;
    match parents.split(' ').nth(1) {
        Some(parent) => Ok(Before::Commit(parent.to_owned())),
        None if git(root, &["rev-parse", "--is-shallow-repository"])? == "true" => {
            Ok(Before::Nothing("the history is cut off before that migration; `git fetch --unshallow` brings the rest"))
        }
        None => Ok(Before::Nothing("the history begins with the newest migration")),
    }
}

/// Builds a commit's shop apart from what is built of this tree: Cargo takes packages at the same place in two workspaces for
/// the same ones, and tells what is to be built anew by times.
fn build(root: &Path, commit: &str, is_release: bool, draft: &Path, binary: &Path) -> Result<(), String> {
    eprintln!("building the shop of before the newest migration, {commit}");
    let (tree, archive, made) = (draft.join("tree"), draft.join("tree.tar"), draft.join("made"));
    if draft.exists() {
        fs::remove_dir_all(draft).map_err(failed("cannot remove a draft"))?;
    }
    fs::create_dir_all(&tree).map_err(failed("cannot make a folder"))?;
    // Not a work tree of Git's: nothing of it stays.
    output(
        Command::new("git").arg("-C").arg(root).args(["archive", "--format=tar", commit, "--output"]).arg(&archive),
    )?;
    // As new as now: nothing that was built before can pass for it.
    output(Command::new("tar").arg("-C").arg(&tree).args(["--touch", "-xf"]).arg(&archive))?;
    let profile = if is_release { "release" } else { "debug" };
    share(&built()?.join(profile), &made.join(profile), &tree)?;
    let mut cargo = cargo(&tree);
    cargo.args(["build", "--locked", "--workspace", "--bin", "shop", "--target-dir"]).arg(&made);
    cargo.args(is_release.then_some("--release")).env("CARGO_INCREMENTAL", "0");
    if !cargo.status().is_ok_and(|status| status.success()) {
        return Err(format!("the shop of {commit} does not build"));
    }
    fs::create_dir_all(binary.parent().unwrap_or(draft)).map_err(failed("cannot make a folder"))?;
    fs::rename(made.join(profile).join("shop"), binary).map_err(failed("cannot keep the binary"))?;
    fs::remove_dir_all(draft).map_err(failed("cannot remove a draft"))
}

fn cargo(tree: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(tree);
    cargo
}

/// Copies what Cargo has built of packages that are not the tree's own, for it to look at: what fits saves minutes, what does
/// not is built anew.
fn share(from: &Path, to: &Path, tree: &Path) -> Result<(), String> {
    let own = own_names(tree)?;
    for kind in [".fingerprint", "build", "deps"] {
        let Ok(entries) = fs::read_dir(from.join(kind)) else { continue };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let others: Vec<PathBuf> = paths.filter(|path| name(path).is_some_and(|name| !own.contains(&name))).collect();
        let into = to.join(kind);
        fs::create_dir_all(&into).map_err(failed("cannot make a folder"))?;
        for some in others.chunks(1_000) {
            // With its times, by which Cargo judges.
            output(
                Command::new("cp").args(["--archive", "--reflink=auto", "--target-directory"]).arg(&into).args(some),
            )?;
        }
    }
    Ok(())
}

/// What the packages of a tree are called, and what is made of them.
fn own_names(tree: &Path) -> Result<BTreeSet<String>, String> {
    let json = output(cargo(tree).args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&json).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let named = packages.iter().chain(targets).filter_map(|named| named["name"].as_str());
    Ok(named.map(|name| name.replace('-', "_")).collect())
}

/// The name in `name-hash`, `libname-hash.rlib` and their like.
fn name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, rest) = file.rsplit_once('-')?;
    let name = if rest.contains('.') { name.strip_prefix("lib").unwrap_or(name) } else { name };
    Some(name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIGRATIONS: &str = "components/a/src/postgres/migrations";

    /// A history of its own, whatever that of this project is.
    struct Project(tempfile::TempDir);

    impl Project {
        fn new() -> Self {
            let project = Self(tempfile::tempdir().expect("a folder"));
            project.git(&["init", "--quiet"]);
            project
        }

        fn git(&self, arguments: &[&str]) -> String {
            let who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"];
            git(self.0.path(), &[&who, arguments].concat()).expect("git does it")
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }

        /// Commits a file and returns the commit.
        fn commit(&self, path: &str, text: &str) -> String {
            self.write(path, text);
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "--message", path]);
            self.git(&["rev-parse", "HEAD"])
        }

        fn before(&self) -> String {
            match look(self.0.path()).expect("it is found") {
                Before::Commit(commit) => commit,
                Before::Nothing(reason) => reason.to_owned(),
            }
        }
    }

    #[test]
    fn what_was_before_the_newest_migration_is_found_in_the_history() {
        let project = Project::new();
        project.commit(&format!("{MIGRATIONS}/V1__tables.sql"), "");
        assert!(project.before().contains("begins with the newest migration"));
        let before_log = project.commit("README.md", "");
        project.commit(&format!("{MIGRATIONS}/V2__more.sql"), "");
        assert_eq!(project.before(), before_log);
        // A migration that changes is none that is added.
        project.commit(&format!("{MIGRATIONS}/V2__more.sql"), "-- corrected");
        project.commit("other.sql", "");
        assert_eq!(project.before(), before_log);

        let before_rows = project.git(&["rev-parse", "HEAD"]);
        project.commit(ROWS, "const FORMAT: i32 = 1;\n");
        assert_eq!(project.before(), before_rows);
        let before_rows = project.commit(ROWS, "const FORMAT: i32 = 1;\n// more\n");
        project.write(ROWS, "const FORMAT: i32 = 2;\n// more\n");
        assert_eq!(project.before(), before_rows, "one that is being written is the newest");
        let written = project.commit(ROWS, "const FORMAT: i32 = 2;\n// more\n");
        assert_eq!(project.before(), before_rows);
        project.write(&format!("{MIGRATIONS}/V3__most.sql"), "");
        assert_eq!(project.before(), written);
    }

    #[test]
    fn a_tree_without_history_is_told_from_one_whose_history_is_cut_off() {
        let project = Project::new();
        project.commit("README.md", "");
        project.commit(&format!("{MIGRATIONS}/V1__tables.sql"), "");
        project.commit("README.md", "more");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let shallow = elsewhere.path().join("shallow");
        let from = format!("file://{}", project.0.path().display());
        project.git(&["clone", "--quiet", "--depth=1", &from, shallow.to_str().expect("a path of text")]);
        assert!(matches!(look(&shallow), Ok(Before::Nothing(reason)) if reason.contains("git fetch --unshallow")));
        fs::remove_dir_all(shallow.join(".git")).expect("removed");
        assert!(matches!(look(&shallow), Ok(Before::Nothing(reason)) if reason.contains("without a history")));
    }

    #[test]
    fn what_cargo_made_is_known_by_its_name() {
        for (file, known) in [
            ("serde_json-0123456789abcdef", Some("serde_json")),
            ("libserde_json-0123456789abcdef.rlib", Some("serde_json")),
            ("diptych-command-database-0123456789abcdef", Some("diptych_command_database")),
            ("libc-0123456789abcdef", Some("libc")),
            ("liblibc-0123456789abcdef.rmeta", Some("libc")),
            ("shop", None),
        ] {
            assert_eq!(name(Path::new(file)).as_deref(), known, "{file}");
        }
    }
}
