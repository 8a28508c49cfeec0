use std::collections::BTreeSet;

use crate::{
    architecture::{Architecture, Arrow},
    workspace::{File, Package},
};

/// What looks at the boxes from above, so that no box may look back.
const ABOVE: [&str; 6] =
    ["node", "crates/verify", "crates/testkit", "crates/cluster", "crates/simulator", "crates/facade"];
/// What the boxes share.
const SHARED: [&str; 3] = ["crates/model", "crates/runtime", "crates/wire"];
/// What a box's tests may add.
const FOR_TESTS: [&str; 2] = ["crates/testkit", "crates/cluster"];

fn box_name(folder: &str) -> Option<&str> {
    folder.strip_prefix("components/")
}

/// The arrows between boxes in Cargo's graph are those of `ARCHITECTURE.md`.
pub(crate) fn arrows(packages: &[Package], architecture: &Architecture) -> Vec<String> {
    let cargo: BTreeSet<Arrow> = packages
        .iter()
        .filter_map(|package| box_name(&package.folder).map(|from| (from, package)))
        .flat_map(|(from, package)| package.needs.iter().map(move |to| (from, to)))
        .filter_map(|(from, to)| Some((from.to_owned(), box_name(to)?.to_owned())))
        .collect();
    let undrawn = cargo.difference(&architecture.arrows).map(|(from, to)| {
        format!(
            "components/{from} depends on components/{to}, an arrow that {} has not: remove the dependency",
            Architecture::PATH
        )
    });
    let unused = architecture.arrows.difference(&cargo).map(|(from, to)| {
        format!(
            "{} has the arrow {from} -> {to}, Cargo's graph has not: add the dependency or remove the arrow",
            Architecture::PATH
        )
    });
    undrawn.chain(unused).collect()
}

/// The folders in `components` are the boxes of `ARCHITECTURE.md`, and each is a crate.
pub(crate) fn folders(packages: &[Package], files: &[File], architecture: &Architecture) -> Vec<String> {
    let folders: BTreeSet<String> = files
        .iter()
        .filter_map(|file| box_name(&file.path)?.split_once('/'))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    let unnamed = folders
        .difference(&architecture.boxes)
        .map(|folder| format!("components/{folder} is no box of {}: draw it there or move it", Architecture::PATH));
    let absent = architecture
        .boxes
        .difference(&folders)
        .map(|name| format!("{} has the box {name}, but there is no components/{name}", Architecture::PATH));
    let is_crate = |folder: &String| packages.iter().any(|package| box_name(&package.folder) == Some(folder));
    let no_crate = folders
        .iter()
        .filter(|folder| !is_crate(folder))
        .map(|folder| format!("components/{folder} is no crate: give it a Cargo.toml or move it"));
    unnamed.chain(absent).chain(no_crate).collect()
}

/// Nobody depends on what lies above.
pub(crate) fn layers(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(layer).collect()
}

fn layer(package: &Package) -> Vec<String> {
    let folder = &package.folder;
    let is_shared = |folder: &String| SHARED.contains(&folder.as_str());
    if is_shared(folder) {
        let all = package.needs.iter().chain(&package.tests_need).filter(|to| !is_shared(to));
        let upward =
            all.map(|to| format!("{folder} depends on {to}: what all boxes share depends on nothing else of ours"));
        return upward.collect();
    }
    if box_name(folder).is_none() {
        return Vec::new();
    }
    let needed = package.needs.iter().filter(|to| box_name(to).is_none() && !SHARED.contains(&to.as_str())).map(|to| {
        if ABOVE.contains(&to.as_str()) {
            format!("{folder} depends on {to}, which looks at boxes from above: no box looks back")
        } else {
            format!(
                "{folder} depends on {to}: a box depends on other boxes, {} and nothing else of ours",
                SHARED.join(", ")
            )
        }
    });
    let tested = package
        .tests_need
        .iter()
        .filter(|to| !FOR_TESTS.contains(&to.as_str()) && !package.needs.contains(*to))
        .map(|to| format!("the tests of {folder} depend on {to}: they may add {} only", FOR_TESTS.join(" and ")));
    needed.chain(tested).collect()
}

/// Every crate takes the workspace's lints.
pub(crate) fn lints(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter(|package| !package.inherits_lints)
        .map(|package| {
            format!("{}/Cargo.toml does not take the workspace's lints: add `[lints] workspace = true`", package.folder)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str, needs: &[&str], tests_need: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Package { folder: folder.to_owned(), needs: owned(needs), tests_need: owned(tests_need), inherits_lints: true }
    }

    fn file(path: &str) -> File {
        File { path: path.to_owned(), text: String::new() }
    }

    const PICTURE: &str = "| A | `components/a` |\n| B | `components/b` |\n```arrows\na -> b\n```";

    fn two_boxes() -> (Vec<Package>, Vec<File>) {
        let packages = vec![
            package("components/a", &["components/b", "crates/model"], &["crates/testkit"]),
            package("components/b", &["crates/model", "crates/runtime"], &[]),
            package("crates/testkit", &["components/a", "components/b"], &[]),
            package("node", &["components/a"], &["crates/simulator"]),
        ];
        (packages, vec![file("components/a/Cargo.toml"), file("components/b/src/lib.rs"), file("README.md")])
    }

    #[test]
    fn a_project_that_agrees_with_its_picture_passes() {
        let (packages, files) = two_boxes();
        let picture = Architecture::parse(PICTURE);
        assert_eq!(arrows(&packages, &picture), [""; 0]);
        assert_eq!(folders(&packages, &files, &picture), [""; 0]);
        assert_eq!(layers(&packages), [""; 0]);
        assert_eq!(lints(&packages), [""; 0]);
    }

    #[test]
    fn a_dependency_between_boxes_that_is_not_drawn_fails() {
        let picture = Architecture::parse(PICTURE);
        let packages =
            [package("components/a", &["components/b"], &[]), package("components/b", &["components/a"], &[])];
        let found = arrows(&packages, &picture);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("components/b depends on components/a"), "{found:?}");
    }

    #[test]
    fn an_arrow_that_cargo_does_not_have_fails() {
        let picture = Architecture::parse(PICTURE);
        let found = arrows(&[package("components/a", &[], &["components/b"])], &picture);
        assert_eq!(found.len(), 1, "a dependency of tests is no arrow");
        assert!(found[0].contains("has the arrow a -> b"), "{found:?}");
    }

    #[test]
    fn folders_and_boxes_that_differ_fail() {
        let (mut packages, files) = two_boxes();
        let picture = Architecture::parse("| A | `components/a` |\n| C | `components/c` |");
        let found = folders(&packages, &files, &picture);
        assert!(found[0].starts_with("components/b is no box"), "{found:?}");
        assert!(found[1].contains("has the box c"), "{found:?}");
        packages.remove(1);
        assert!(folders(&packages, &files, &picture)[2].starts_with("components/b is no crate"));
    }

    #[test]
    fn a_box_that_looks_up_fails() {
        for above in ABOVE {
            assert_eq!(layers(&[package("components/a", &[above], &[])]).len(), 1, "{above}");
        }
        assert_eq!(layers(&[package("components/a", &["examples/shop"], &[])]).len(), 1);
    }

    #[test]
    fn tests_of_a_box_may_add_the_testkit_and_servers_only() {
        for (tests_need, violations) in
            [("crates/testkit", 0), ("crates/cluster", 0), ("crates/simulator", 1), ("components/b", 1), ("node", 1)]
        {
            assert_eq!(layers(&[package("components/a", &[], &[tests_need])]).len(), violations, "{tests_need}");
        }
    }

    #[test]
    fn what_all_boxes_share_depends_on_nothing_else_of_ours() {
        for shared in SHARED {
            assert_eq!(layers(&[package(shared, &["crates/runtime"], &[])]), [""; 0]);
            assert_eq!(layers(&[package(shared, &["crates/other"], &["crates/testkit"])]).len(), 2);
        }
    }

    #[test]
    fn a_crate_without_the_workspaces_lints_fails() {
        let lax = Package { inherits_lints: false, ..package("node", &[], &[]) };
        assert_eq!(lints(&[lax]).len(), 1);
    }
}
