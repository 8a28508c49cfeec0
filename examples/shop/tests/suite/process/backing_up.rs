//! Backups of a running shop, and what is restored of them.

use std::{fs, path::Path, process::Output};

use super::{
    apart::pages,
    moving::{Apart, Servers, epoch, place, said, token},
    system::{System, assert_verified, shop},
};

fn restore(from: &Path, to: &str) -> Output {
    shop().arg("restore").arg("--from").arg(from).args(["--to", to]).output().expect("it runs")
}

#[test]
fn a_backup_of_a_running_shop_becomes_a_shop_again_each_time_in_another_life() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);
    for id in 0..30 {
        assert_eq!(place(system.api, &format!("o-{id}")).status, 201);
    }
    let backup = directory.path().join("shop.backup");
    let output = shop().arg("backup").arg("--to").arg(&backup).arg("--data").arg(&data).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let again = shop().arg("backup").arg("--to").arg(&backup).arg("--data").arg(&data).output().expect("it runs");
    assert_eq!(again.status.code(), Some(1), "a backup is not written over: {}", said(&again));
    let lost = place(system.api, "late");
    assert_eq!(lost.status, 201);
    system.wait_until_caught_up();
    assert_eq!(system.stop(), Some(0));

    let mut epochs = vec![epoch(&token(&lost)).to_owned()];
    for name in ["first", "second"] {
        let restored = directory.path().join(name);
        let output = restore(&backup, &restored.display().to_string());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let output = restore(&backup, &restored.display().to_string());
        assert!(output.status.code() == Some(1) && said(&output).contains("has a log already"), "{}", said(&output));
        let system = System::start(&restored);
        let replayed = place(system.api, "o-7");
        assert_eq!((replayed.status, replayed.header("idempotency-replayed")), (201, Some("true")));
        let new = place(system.api, "late");
        assert_eq!((new.status, new.header("idempotency-replayed")), (201, None), "it is not in the backup");
        system.wait_until_caught_up();
        epochs.push(epoch(&token(&new)).to_owned());
        // What was in the log once, and is no more.
        let lost = token(&lost);
        let answer = system.client().get("/queries/order_summary?page_size=1", &[("Consistency-Token", &lost)]);
        assert_eq!(answer.expect("answered").status, 409);
        assert_eq!(pages(system.api, "order_summary").concat().matches("\"invoice\"").count(), 31);
        assert_eq!(system.stop(), Some(0));
        assert_verified(&restored);
    }
    epochs.sort();
    epochs.dedup();
    assert_eq!(epochs.len(), 3, "each life is its own: {epochs:?}");
}

#[test]
fn a_backup_that_is_not_whole_is_refused_and_leaves_nothing_behind() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);
    assert_eq!(place(system.api, "one").status, 201);
    assert_eq!(system.stop(), Some(0));
    let output = shop().arg("backup").arg("--to").arg(directory.path()).arg("--data").arg(&data).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut files = fs::read_dir(directory.path()).expect("a directory").flatten().map(|entry| entry.path());
    let backup = files.find(|path| path.extension().is_some_and(|extension| extension == "gz")).expect("a backup");
    let sound = fs::read(&backup).expect("a file");
    let to = directory.path().join("restored");
    for (content, says) in
        [(&sound[..sound.len() - 20], "cut off"), (&b"{}"[..], "cannot be read on"), (&[][..], "shop")]
    {
        fs::write(&backup, content).expect("written");
        let output = restore(&backup, &to.display().to_string());
        let text = said(&output);
        let is_named = text.contains(&backup.display().to_string()) && text.contains("cannot be used");
        assert!(output.status.code() == Some(1) && is_named, "{says}: {text}");
        assert!(!to.exists(), "{says}");
    }
    let output = restore(&directory.path().join("nowhere"), &to.display().to_string());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn a_log_on_postgresql_is_backed_up_and_restored_like_any_other() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);
    let placed = place(system.api, "one");
    assert_eq!(placed.status, 201);
    assert_eq!(system.stop(), Some(0));
    let backup = directory.path().join("shop.backup");
    let output = shop().arg("backup").arg("--to").arg(&backup).arg("--data").arg(&data).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let servers = Servers::start();
    let output = servers.run(&["restore", "--from", &backup.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = servers.run(&["migrate"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut settings = servers.settings();
    settings.push(("DIPTYCH__QUERY_SERVICE__PAGE_TOKEN_KEY".to_owned(), "5e".repeat(32)));
    let apart = Apart::start(settings);
    assert_eq!(place(apart.api, "one").header("idempotency-replayed"), Some("true"));
    let two = place(apart.api, "two");
    apart.wait_for(&token(&two), "/queries/order_summary/two");

    let second = directory.path().join("second.backup");
    let output = servers.run(&["backup", "--to", &second.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let restored = directory.path().join("restored");
    let output = restore(&second, &restored.display().to_string());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let system = System::start(&restored);
    system.wait_until_caught_up();
    assert_eq!(pages(system.api, "order_summary"), pages(apart.api, "order_summary"));
    assert_eq!(place(system.api, "two").header("idempotency-replayed"), Some("true"));
    assert_eq!(system.stop(), Some(0));
    assert_verified(&restored);
}
