//! The log was restored to an earlier state, or is another one: some generations are of a history that it does not have.

use std::time::Duration;

use query_database::{CommitOutcome, HeadSeen};

use super::{Subject, fixture::*};

/// A log as it was, restored to position 3 or 6, and another one.
const BEFORE: &[(u128, u64)] = &[(1, 1)];
const RESTORED_TO_3: &[(u128, u64)] = &[(1, 1), (3, 4)];
const RESTORED_TO_6: &[(u128, u64)] = &[(1, 1), (2, 7)];
const ANOTHER: &[(u128, u64)] = &[(9, 1)];

pub(super) async fn a_forked_generation_serves_on_and_is_not_taken_again(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = with_rows(&*database, vec![put("a", "old", 1)]).await;
    assert!(database.mark_forked(forked(&old, 1, ANOTHER)).await.expect("answered"));
    let new = database.take(things(1)).await.expect("taken");
    assert!(new.generation > old.generation && new.position.is_none() && !new.serving);
    assert_eq!(database.rows(new.generation, vec![key("a")]).await.expect("read"), [None]);
    assert_eq!(serving(&*database).await, old.generation);
    assert_eq!(body(&*database, "a").await.expect("a row"), "old");
    assert_eq!(database.take(things(1)).await.expect("taken again").generation, new.generation);
}

pub(super) async fn a_forked_generation_is_written_to_by_nobody(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = with_rows(&*database, Vec::new()).await;
    assert!(database.mark_forked(forked(&old, 1, ANOTHER)).await.expect("answered"));
    fenced(&*database, commit(&old, 1, 2, Vec::new())).await;
    let held = database.hold(old.generation, old.owner, Some("late".to_owned())).await.expect("answered");
    assert_eq!(held, CommitOutcome::Fenced);
}

pub(super) async fn a_forked_generation_is_told_by_its_reads(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![put("a", "1", 1)]).await;
    for marked in [None, Some(lineage_of(RESTORED_TO_3)), Some(lineage_of(ANOTHER))] {
        if let Some(lineage) = &marked {
            let mark = query_database::Forked { lineage: lineage.clone(), ..forked(&owned, 1, &[]) };
            assert!(database.mark_forked(mark).await.expect("answered"));
        }
        let log = database.checkpoint(NAME).await.expect("read").forked;
        assert_eq!(log.as_ref().and_then(|log| log.current()), marked.as_ref().and_then(|log| log.current()));
        assert_eq!(database.point(NAME, &key("a")).await.expect("read").checkpoint.forked, log);
        assert_eq!(page(&*database, list(&owned, &[])).await.checkpoint.forked, log);
        assert_eq!(database.generations().await.expect("read")[0].forked, marked.is_some());
    }
}

pub(super) async fn a_checkpoint_that_has_moved_on_is_not_marked(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, Vec::new()).await;
    stored(&*database, commit(&owned, 1, 2, Vec::new())).await;
    let hash = forked(&owned, 1, ANOTHER).hash;
    for late in [forked(&owned, 1, ANOTHER), query_database::Forked { hash, ..forked(&owned, 2, ANOTHER) }] {
        assert!(!database.mark_forked(late).await.expect("answered"));
    }
    stored(&*database, commit(&owned, 2, 3, Vec::new())).await;
}

pub(super) async fn a_forked_generation_is_replaced_wherever_it_stands(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = database.take(things(1)).await.expect("taken");
    stored(&*database, commit(&old, 0, 5, Vec::new())).await;
    // By the lineages both are of one history: somebody put an old copy into the log's place, and said so to nobody.
    assert!(database.mark_forked(forked(&old, 5, BEFORE)).await.expect("answered"));
    let new = database.take(things(2)).await.expect("taken");
    stored(&*database, commit_in(BEFORE, &new, 0, 3)).await;
    assert!(switched(&*database, &new).await);
    assert_eq!(database.checkpoint(NAME).await.expect("read").position, Some(position(3)));
}

pub(super) async fn a_generation_beyond_a_fork_is_replaced_wherever_it_stands(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = database.take(things(1)).await.expect("taken");
    stored(&*database, commit_in(BEFORE, &old, 0, 9)).await;
    for (version, log, end) in [(2, RESTORED_TO_6, 7), (3, RESTORED_TO_3, 5), (4, ANOTHER, 2)] {
        let new = database.take(things(version)).await.expect("taken");
        stored(&*database, commit_in(log, &new, 0, end)).await;
        assert!(switched(&*database, &new).await, "version {version}");
        assert_eq!(serving(&*database).await, new.generation);
    }
}

pub(super) async fn a_generation_below_a_fork_is_replaced_by_none_that_is_behind(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = database.take(things(1)).await.expect("taken");
    stored(&*database, commit_in(BEFORE, &old, 0, 6)).await;
    let new = database.take(things(2)).await.expect("taken");
    stored(&*database, commit_in(RESTORED_TO_6, &new, 0, 5)).await;
    assert!(!switched(&*database, &new).await, "6 is still a position of the log, and 5 is below it");
    stored(&*database, commit_in(RESTORED_TO_6, &new, 5, 6)).await;
    assert!(switched(&*database, &new).await);
}

pub(super) async fn only_what_has_the_whole_log_replaces_another_history(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = database.take(things(1)).await.expect("taken");
    stored(&*database, commit_in(BEFORE, &old, 0, 9)).await;
    let end_at = |end| HeadSeen { position: Some(position(end)), age: Duration::ZERO };
    let new = database.take(things(2)).await.expect("taken");
    let part = query_database::Commit { head: end_at(12), ..commit_in(RESTORED_TO_3, &new, 0, 8) };
    stored(&*database, part).await;
    assert!(!switched(&*database, &new).await, "8 of 12");
    stored(&*database, commit_in(RESTORED_TO_3, &new, 8, 12)).await;
    assert!(switched(&*database, &new).await);

    // Another log, which is empty: that is known once somebody has looked.
    assert!(database.mark_forked(forked(&new, 12, ANOTHER)).await.expect("answered"));
    let empty = database.take(things(3)).await.expect("taken");
    assert!(!switched(&*database, &empty).await, "nobody has said where the log ends");
    let of = vec![(empty.generation, empty.owner)];
    let nothing = HeadSeen { position: None, age: Duration::ZERO };
    database.refresh_head(of, lineage_of(ANOTHER), nothing).await.expect("answered");
    assert!(switched(&*database, &empty).await);
}

pub(super) async fn a_generation_beyond_a_fork_does_not_replace_one_of_the_log(subject: &dyn Subject) {
    let database = subject.open().await;
    let new = database.take(things(2)).await.expect("taken");
    stored(&*database, commit_in(RESTORED_TO_3, &new, 0, 4)).await;
    // Its owner has not heard of the restore.
    let old = database.take(things(1)).await.expect("taken");
    stored(&*database, commit_in(BEFORE, &old, 0, 9)).await;
    assert!(!switched(&*database, &old).await);
    assert_eq!(serving(&*database).await, new.generation);
}
