use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use model::{ConsistencyToken, ReadModel, RowKey, Tenant, Verdict};
use query_database::{Checkpoint, CommitOutcome, Error, HeadSeen, List, Owned};
use runtime::Runtime;

use super::{Database, Subject, fixture::*};

const COMMITS: u64 = 200;

/// Stores row "a" again and again, each time with the position as its body.
async fn count_up(database: &dyn Database, owned: &Owned) {
    for from in 1..COMMITS {
        let row = put("a", &(from + 1).to_string(), from + 1);
        stored(database, commit(owned, from, from + 1, vec![row])).await;
    }
}

/// Whether the last commit was seen; panics where a body is not that of its checkpoint.
fn one_commit(body: &[u8], checkpoint: &Checkpoint) -> bool {
    let at = checkpoint.position.expect("rows have a checkpoint");
    assert_eq!(String::from_utf8_lossy(body), at.to_string());
    at == position(COMMITS)
}

pub(super) async fn a_point_read_never_mixes_two_commits(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![put("a", "1", 1)]).await;
    let reads = async {
        loop {
            let read = database.point(NAME, &key("a")).await.expect("read");
            if one_commit(&read.row.expect("the row").body, &read.checkpoint) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    join(count_up(&*database, &owned), reads).await;
}

pub(super) async fn a_page_never_mixes_two_commits(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, vec![put("a", "1", 1)]).await;
    let reads = async {
        loop {
            let page = page(&*database, list(&owned, &[])).await;
            if one_commit(&page.rows[0].body, &page.checkpoint) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    join(count_up(&*database, &owned), reads).await;
}

pub(super) async fn an_absent_row_still_has_a_checkpoint(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = database.take(things(1)).await.expect("taken");
    let read = database.point(NAME, &key("a")).await.expect("read");
    assert_eq!((read.row, read.checkpoint.position), (None, None));
    stored(&*database, commit(&owned, 0, 5, Vec::new())).await;
    let read = database.point(NAME, &key("a")).await.expect("read");
    assert_eq!((read.row, read.checkpoint.position), (None, Some(position(5))));
    assert_eq!(read.checkpoint.generation, owned.generation);
    let page = page(&*database, list(&owned, &[])).await;
    assert_eq!((page.rows.len(), page.checkpoint.position), (0, Some(position(5))));
}

pub(super) async fn a_tenant_sees_its_own_rows_only(subject: &dyn Subject) {
    let database = subject.open().await;
    let of = |tenant: &str, at: &str| RowKey { tenant: Tenant::new(tenant), key: at.into() };
    let written = |tenant: &str, at: &str, body: &str| {
        let mut write = put(at, body, 1);
        write.key = of(tenant, at);
        write
    };
    let rows = vec![written("north", "a", "n"), written("south", "a", "s"), written("south", "b", "s2")];
    let owned = with_rows(&*database, rows).await;
    for (tenant, at, expected) in
        [("north", "a", Some("n")), ("south", "a", Some("s")), ("north", "b", None), ("default", "a", None)]
    {
        let read = database.point(NAME, &of(tenant, at)).await.expect("read").row.map(|row| row.body);
        assert_eq!(read.as_deref(), expected.map(str::as_bytes), "row {at} of {tenant}");
        let folded = database.rows(owned.generation, vec![of(tenant, at)]).await.expect("read");
        assert_eq!(folded[0].as_deref(), expected.map(str::as_bytes), "row {at} of {tenant} for its fold");
    }
    for (tenant, expected) in [("north", vec!["a"]), ("south", vec!["a", "b"]), ("default", vec![])] {
        let list = List { tenant: Tenant::new(tenant), ..list(&owned, &[]) };
        assert_eq!(keys(&page(&*database, list).await), expected, "the rows of {tenant}");
    }
}

pub(super) async fn nothing_serves_before_a_generation_is_taken(subject: &dyn Subject) {
    let database = subject.open().await;
    assert!(matches!(database.serving(NAME).await, Err(Error::NotServing { .. })));
    assert!(matches!(database.checkpoint(NAME).await, Err(Error::NotServing { .. })));
    assert!(matches!(database.point(NAME, &key("a")).await, Err(Error::NotServing { .. })));
    assert!(database.generations().await.expect("read").is_empty());
}

pub(super) async fn the_head_grows_older_until_it_is_refreshed(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = database.take(things(1)).await.expect("taken");
    // Older than this process: it may have been seen by another one.
    let old = Duration::from_secs(1_000_000);
    let head = |at, age| HeadSeen { position: Some(position(at)), age };
    stored(&*database, query_database::Commit { head: head(7, old), ..commit(&owned, 0, 5, Vec::new()) }).await;
    let read = database.point(NAME, &key("a")).await.expect("read").checkpoint;
    assert_eq!(read.head.position, Some(position(7)));
    assert!(database.generations().await.expect("read")[0].head_age >= old);
    assert!(read.head.age >= old && read.head.age < old * 2, "{:?}", read.head.age);
    let of = vec![(owned.generation, owned.owner)];
    database.refresh_head(of, lineage(1), head(8, Duration::from_secs(3))).await.expect("refreshed");
    let read = database.checkpoint(NAME).await.expect("read");
    assert_eq!((read.head.position, read.position), (Some(position(8)), Some(position(5))));
    assert!(read.head.age >= Duration::from_secs(3) && read.head.age < Duration::from_secs(300), "{:?}", read.head.age);
}

pub(super) async fn the_lineage_is_the_one_last_committed(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = database.take(things(1)).await.expect("taken");
    assert_eq!(database.checkpoint(NAME).await.expect("read").lineage, Default::default());
    for (from, epochs) in [(0, 1), (1, 2), (2, 2), (3, 3)] {
        let commit = query_database::Commit { lineage: lineage(epochs), ..commit(&owned, from, from + 1, Vec::new()) };
        stored(&*database, commit).await;
        assert_eq!(database.point(NAME, &key("a")).await.expect("read").checkpoint.lineage, lineage(epochs));
    }
}

pub(super) async fn lives_that_the_log_no_longer_has_are_remembered(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = database.take(things(1)).await.expect("taken");
    stored(&*database, commit_in(&[(1, 1), (2, 3)], &owned, 0, 4)).await;
    // Restored from a copy that is older than epoch 2, and read by a read model that never saw that.
    let others = Arc::new(ReadModel { name: "others".to_owned(), ..(*things(1)).clone() });
    let owned = database.take(others).await.expect("taken");
    stored(&*database, commit_in(&[(1, 1), (3, 6)], &owned, 0, 7)).await;
    let lineage = database.checkpoint("others").await.expect("read").lineage;
    let judge = |id, at| lineage.judge(&ConsistencyToken { epoch: epoch(id), position: position(at) });
    assert_eq!(judge(2, 3), Verdict::BeyondFork);
    assert_eq!((judge(1, 5), judge(3, 6)), (Verdict::Reach(position(5)), Verdict::Reach(position(6))));
    assert_eq!(judge(4, 1), Verdict::UnknownEpoch);
    // What has yet to hear of an epoch does not take it for one that is gone.
    let lineage = database.checkpoint(NAME).await.expect("read").lineage;
    assert_eq!(lineage, lineage_of(&[(1, 1), (2, 3)]));
}

pub(super) async fn a_hold_shows_until_it_is_released(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = database.take(things(1)).await.expect("taken");
    for reason in [Some("an unknown event"), Some("another reason"), None] {
        let held = database.hold(owned.generation, owned.owner, reason.map(str::to_owned)).await.expect("answered");
        assert_eq!(held, CommitOutcome::Stored);
        assert_eq!(database.checkpoint(NAME).await.expect("read").held.as_deref(), reason);
        let read = database.point(NAME, &key("a")).await.expect("read");
        assert_eq!(read.checkpoint.held.as_deref(), reason);
        assert_eq!(database.generations().await.expect("read")[0].held.as_deref(), reason);
    }
}

pub(super) async fn a_waiting_reader_goes_on_although_nothing_changes(subject: &dyn Subject) {
    let database = subject.open().await;
    let waited = Runtime::tokio().timeout(Duration::from_secs(2), database.changed()).await;
    assert!(waited.is_ok(), "still waiting after 2 s");
}
