//! What a start refuses, with a message that says what to do and nothing touched.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use super::system::{System, shop};

fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.map(|path| (path.display().to_string(), fs::read(&path).expect("a file"))).collect()
}

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = shop().args(arguments).output().expect("the shop runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn refused_with(data: &Path) -> (Option<i32>, String) {
    let data = data.to_str().expect("a path of text");
    refused(&["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data])
}

/// A directory that a shop has used and left.
fn used() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(System::start(directory.path()).stop(), Some(0));
    directory
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let _alone = super::alone();
    let needed = "insecure_no_authentication = true";
    for (arguments, needed) in [
        (["dev", "--listen", "0.0.0.0:8080"], needed),
        (["dev", "--listen", "[::]:0"], needed),
        (["dev", "--admin", "192.0.2.1:0"], "name a loopback address"),
    ] {
        let (code, said) = refused(&arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(needed), "{said}");
    }
}

/// What it is, how a directory becomes that, and what the refusal has to say.
type Spoilt = (&'static str, fn(&Path), &'static str);

#[test]
fn unusable_directories_are_refused_and_left_as_they_were() {
    let _alone = super::alone();
    let spoilt: [Spoilt; 5] = [
        ("a foreign directory", |path| fs::remove_file(path.join("FORMAT")).expect("removed"), "not a data directory"),
        (
            "a newer format",
            |path| {
                fs::write(path.join("FORMAT"), "format 9\noldest-binary 9.0.0\napplication shop\n").expect("written")
            },
            "newer binary",
        ),
        (
            "another application",
            |path| {
                fs::write(path.join("FORMAT"), "format 1\noldest-binary 0.1.0\napplication bank\n").expect("written")
            },
            "bank",
        ),
        (
            "a log that is no database",
            |path| fs::write(path.join("log.sqlite3"), [7; 9000]).expect("written"),
            "log.sqlite3",
        ),
        (
            "rows that are no database",
            |path| fs::write(path.join("rows.sqlite3"), [7; 9000]).expect("written"),
            "rows.sqlite3",
        ),
    ];
    for (what, spoil, expected) in spoilt {
        let directory = used();
        spoil(directory.path());
        let before = contents(directory.path());
        let (code, said) = refused_with(directory.path());
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        assert_eq!(contents(directory.path()), before, "{what}: something was touched");
    }
}

#[test]
fn a_directory_that_another_server_has_open_is_refused() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path());
    let (code, said) = refused_with(directory.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(system.stop(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_named_with_its_flag_and_a_directory_in_use_comes_first() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let (used, unused) = (directory.path().join("used"), directory.path().join("unused"));
    let system = System::start(&used);
    let (api, admin) = (system.api.to_string(), system.admin.to_string());
    for (data, listen, admin, says) in [
        (&unused, &*api, "127.0.0.1:0", "by --listen"),
        (&unused, "127.0.0.1:0", &*admin, "by --admin"),
        (&used, &*api, &*admin, "in use by another process"),
    ] {
        let data = data.to_str().expect("a path of text");
        let (code, said) = refused(&["dev", "--listen", listen, "--admin", admin, "--data", data]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(says), "{says}: {said}");
    }
    assert_eq!(system.stop(), Some(0));
}

#[test]
fn nobody_else_can_read_what_a_shop_keeps() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);
    let entries = fs::read_dir(&data).expect("a directory").map(|entry| entry.expect("an entry").path());
    for path in entries.chain([data.clone()]) {
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    assert_eq!(system.stop(), Some(0));
}
