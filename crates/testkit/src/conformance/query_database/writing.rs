use std::time::Duration;

use query_database::{CommitOutcome, HeadSeen};

use super::{Subject, fixture::*};

pub(super) async fn after_reopening_the_rows_are_those_of_the_checkpoint(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![put("a", "1", 1)]).await;
    stored(&*database, commit(&owned, 1, 2, vec![put("a", "2", 2)])).await;
    drop(database);
    let database = subject.open().await;
    let read = database.point(NAME, &key("a")).await.expect("read");
    let body = read.row.map(|row| row.body);
    let checkpoint = read.checkpoint.position.map(|position| position.to_string());
    assert_eq!(body.as_deref(), checkpoint.as_deref().map(str::as_bytes));
}

pub(super) async fn a_commit_from_another_checkpoint_is_fenced(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = database.take(things(1)).await.expect("taken");
    stored(&*database, commit(&owned, 0, 2, Vec::new())).await;
    for from in [0, 1, 3] {
        fenced(&*database, commit(&owned, from, 4, Vec::new())).await;
    }
    stored(&*database, commit(&owned, 2, 4, Vec::new())).await;
}

pub(super) async fn a_commit_of_a_former_owner_is_fenced(subject: &dyn Subject) {
    let database = subject.open().await;
    let former = database.take(things(1)).await.expect("taken");
    let owner = database.take(things(1)).await.expect("taken over");
    assert!(owner.owner > former.owner);
    fenced(&*database, commit(&former, 0, 1, Vec::new())).await;
    stored(&*database, commit(&owner, 0, 1, Vec::new())).await;
}

pub(super) async fn a_fenced_commit_stores_nothing(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![put("a", "first", 1)]).await;
    // Whether it is fenced is another promise; that it is all or nothing is this one.
    let late = commit(&owned, 7, 8, vec![put("a", "late", 8), put("b", "late", 8)]);
    let outcome = database.commit(late).await.expect("answered");
    let written = body(&*database, "a").await.expect("a row") == "late";
    assert_eq!(written, outcome == CommitOutcome::Stored);
    assert_eq!(body(&*database, "b").await.is_some(), outcome == CommitOutcome::Stored);
}

pub(super) async fn a_row_is_replaced_whole(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![row("a", "first", 1, &[(INTEGER, "1"), (TRUTH, "true")])]).await;
    stored(&*database, commit(&owned, 1, 2, vec![row("a", "second", 2, &[(INTEGER, "2")])])).await;
    let read = database.point(NAME, &key("a")).await.expect("read").row.expect("the row");
    assert_eq!((read.body.as_ref(), read.position), (b"second".as_ref(), position(2)));
    use query_database::Direction::Asc;
    let page = page(&*database, list(&owned, &[(INTEGER, Asc), (TRUTH, Asc)])).await;
    assert_eq!(page.rows.len(), 1);
    assert_eq!(page.rows[0].start.values, [value(INTEGER, "2"), model::IndexValue::Null]);
}

pub(super) async fn a_deleted_row_is_gone(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![put("a", "a", 1), put("b", "b", 1)]).await;
    // Deleting what is not there is nothing special.
    stored(&*database, commit(&owned, 1, 2, vec![delete("a", 2), delete("none", 2)])).await;
    assert_eq!(body(&*database, "a").await, None);
    assert_eq!(database.rows(owned.generation, vec![key("a")]).await.expect("read"), [None]);
    assert_eq!(keys(&page(&*database, list(&owned, &[])).await), ["b"]);
}

pub(super) async fn the_rows_of_a_fold_come_in_the_order_of_their_keys(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![put("a", "A", 1), put("b", "B", 1), put("c", "C", 1)]).await;
    let wanted = ["c", "none", "a", "b"].map(key).to_vec();
    let rows = database.rows(owned.generation, wanted).await.expect("read");
    let rows: Vec<Option<&[u8]>> = rows.iter().map(Option::as_deref).collect();
    assert_eq!(rows, [Some(b"C".as_ref()), None, Some(b"A"), Some(b"B")]);
}

pub(super) async fn a_body_is_served_byte_for_byte(subject: &dyn Subject) {
    // Another spelling of the same JSON would be another ETag.
    let bodies = [r#"{ "b" : 1.0,"a":1e2 , "b":2 }"#, "{\"ä\":\"\\u00e4 😀 \\u0000\"}", "[]", &"9".repeat(100_000)];
    let database = subject.open().await;
    let names = ["a", "b", "c", "d"];
    let rows: Vec<_> = names.iter().zip(bodies).map(|(name, body)| put(name, body, 1)).collect();
    let owned = with_rows(&*database, rows).await;
    for (name, expected) in names.iter().zip(bodies) {
        assert_eq!(body(&*database, name).await.expect("the row"), expected);
    }
    let page = page(&*database, list(&owned, &[])).await;
    assert!(page.rows.iter().map(|row| row.body.as_ref()).eq(bodies.map(str::as_bytes)));
}

pub(super) async fn a_former_owner_cannot_hold(subject: &dyn Subject) {
    let database = subject.open().await;
    let former = database.take(things(1)).await.expect("taken");
    database.take(things(1)).await.expect("taken over");
    let held = database.hold(former.generation, former.owner, Some("late".to_owned())).await.expect("answered");
    assert_eq!(held, CommitOutcome::Fenced);
    assert_eq!(database.checkpoint(NAME).await.expect("read").held, None);
}

pub(super) async fn a_former_owner_does_not_refresh_the_head(subject: &dyn Subject) {
    let database = subject.open().await;
    let former = database.take(things(1)).await.expect("taken");
    database.take(things(1)).await.expect("taken over");
    let head = HeadSeen { position: Some(position(9)), age: Duration::ZERO };
    let owned = vec![(former.generation, former.owner)];
    database.refresh_head(owned, lineage(1), head).await.expect("answered");
    assert_eq!(database.checkpoint(NAME).await.expect("read").head.position, None);
}
