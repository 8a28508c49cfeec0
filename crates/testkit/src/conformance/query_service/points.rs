//! Reads of one row, and what all reads promise about freshness.

use std::{sync::Arc, time::Duration};

use model::{Epoch, EpochId, Lineage, Position, Tenant};
use query_database::{HeadSeen, RowWriter};
use query_service::{Body, Freshness, Handling, QueryOutcome};
use runtime::Runtime;
use uuid::Uuid;

use super::world::{EPOCH, LAG_MAX, READ_MODEL, World, answered, point, put, stored, token};

const FORKED: EpochId = EpochId(Uuid::from_u128(2));
const RESTORED: EpochId = EpochId(Uuid::from_u128(3));
const NOT_YET_KNOWN: EpochId = EpochId(Uuid::from_u128(4));

pub(super) async fn a_row_is_answered_as_stored_with_its_position(mut world: World) {
    let folded = world.fold(vec![put("bolt", Some("red"), "1.50")]).await;
    world.fold(vec![put("nut", None, "2")]).await;
    let answer = answered(world.point("bolt").await);
    let Body::Row { body, position } = answer.body else { panic!("{answer:?}") };
    assert_eq!(body, stored("bolt", Some("red"), "1.50"), "byte by byte");
    assert_eq!(position, folded);
    assert_eq!((answer.generation, answer.freshness), (world.owned.generation, Freshness::Fresh));
}

pub(super) async fn an_answer_names_its_own_checkpoint(mut world: World) {
    assert_eq!(answered(world.point("bolt").await).token, None, "an empty prefix has no name");
    world.fold(vec![put("bolt", None, "1")]).await;
    world.fold(Vec::new()).await;
    assert_eq!(answered(world.point("bolt").await).token, Some(token(EPOCH, 2)));
}

pub(super) async fn a_missing_row_is_an_answer(mut world: World) {
    world.fold(vec![put("bolt", None, "1")]).await;
    assert_eq!(answered(world.point("nut").await).body, Body::NoRow);
}

pub(super) async fn no_tenant_sees_anothers_rows(mut world: World) {
    world.fold(vec![put("bolt", None, "1")]).await;
    let mut query = point("bolt", None);
    query.tenant = Tenant::new("other");
    assert_eq!(answered(world.service.point(query).await).body, Body::NoRow);
}

pub(super) async fn an_unknown_read_model_is_told_the_known_ones(world: World) {
    let mut query = point("bolt", None);
    query.read_model = "tools".to_owned();
    let outcome = world.service.point(query).await;
    assert_eq!(outcome, QueryOutcome::UnknownReadModel { known: vec![READ_MODEL.to_owned()] });
}

pub(super) async fn a_key_is_found_however_it_was_encoded(mut world: World) {
    world.fold(vec![put("BANK CHARGES/ä", None, "1")]).await;
    for key in ["BANK%20CHARGES%2F%C3%A4", "%42ANK%20CHARGES%2f%c3%a4"] {
        assert!(matches!(answered(world.point(key).await).body, Body::Row { .. }), "{key}");
    }
}

pub(super) async fn what_cannot_be_a_key_is_refused(world: World) {
    for key in ["", "a//b", "/", "%ff", &"k".repeat(257)] {
        let outcome = world.point(key).await;
        assert!(matches!(outcome, QueryOutcome::InvalidKey { .. }), "{key:?}: {outcome:?}");
    }
}

pub(super) async fn a_token_is_waited_for(mut world: World) {
    // Whoever has a token has it from a log that is as long.
    let head = HeadSeen { position: Position::new(3), age: Duration::ZERO };
    world.fold_with_head(Vec::new(), head).await;
    let mut query = point("bolt", Some(token(EPOCH, 3)));
    query.consistency.wait = Duration::from_secs(30);
    let service = world.service.clone();
    let meanwhile = async {
        world.fold_with_head(vec![put("nut", None, "1")], head).await;
        world.fold_with_head(vec![put("bolt", None, "1")], head).await;
    };
    let (outcome, ()) = futures_util::future::join(service.point(query), meanwhile).await;
    let answer = answered(outcome);
    assert!(matches!(answer.body, Body::Row { .. }), "{answer:?}");
    assert_eq!(answer.freshness, Freshness::Fresh);
}

pub(super) async fn a_strict_answer_contains_its_token(mut world: World) {
    world.fold(vec![put("bolt", None, "1")]).await;
    world.fold(Vec::new()).await;
    for reached in [1, 2] {
        let answer = answered(world.service.point(point("bolt", Some(token(EPOCH, reached)))).await);
        assert!(matches!(answer.body, Body::Row { .. }), "{reached}");
    }
    let outcome = world.service.point(point("bolt", Some(token(EPOCH, 5)))).await;
    assert!(matches!(outcome, QueryOutcome::NotYetConsistent { behind: 3, .. }), "{outcome:?}");
}

pub(super) async fn a_lenient_answer_says_what_it_lacks(mut world: World) {
    world.fold(vec![put("bolt", None, "1")]).await;
    let mut query = point("bolt", Some(token(EPOCH, 5)));
    query.consistency.handling = Handling::Lenient;
    query.consistency.wait = Duration::from_millis(50);
    let answer = answered(world.service.point(query).await);
    assert!(matches!(answer.body, Body::Row { .. }), "{answer:?}");
    let Freshness::Stale { behind, age } = answer.freshness else { panic!("{answer:?}") };
    assert_eq!(behind, 4);
    assert!(age < Duration::from_secs(10), "{age:?}");
}

pub(super) async fn a_token_of_an_unknown_epoch_is_not_reached_by_any_position(mut world: World) {
    for _ in 0..3 {
        world.fold(vec![put("bolt", None, "1")]).await;
    }
    let outcome = world.service.point(point("bolt", Some(token(NOT_YET_KNOWN, 2)))).await;
    assert!(matches!(outcome, QueryOutcome::NotYetConsistent { .. }), "{outcome:?}");
}

pub(super) async fn a_token_that_the_log_never_gave_is_refused_once_the_log_was_looked_at(mut world: World) {
    world.fold(vec![put("bolt", None, "1")]).await;
    for strange in [token(EPOCH, 1_000_000), token(NOT_YET_KNOWN, 1)] {
        let mut query = point("bolt", Some(strange));
        query.consistency.wait = Duration::from_secs(30);
        let service = world.service.clone();
        let meanwhile = async {
            Runtime::tokio().sleep(LAG_MAX * 2).await;
            world.fold(Vec::new()).await;
        };
        let (outcome, ()) = futures_util::future::join(service.point(query), meanwhile).await;
        assert_eq!(outcome, QueryOutcome::EpochChanged, "{strange}");
    }
}

pub(super) async fn a_token_beyond_a_fork_is_refused(mut world: World) {
    let epoch = |id, first| Epoch { id, first: Position::new(first).expect("positions count from 1") };
    world.lineage = Arc::new(Lineage(vec![epoch(FORKED, 1), epoch(RESTORED, 3)]));
    for _ in 0..4 {
        world.fold(vec![put("bolt", None, "1")]).await;
    }
    let lost = world.service.point(point("bolt", Some(token(FORKED, 3)))).await;
    assert_eq!(lost, QueryOutcome::EpochChanged);
    for kept in [token(FORKED, 2), token(RESTORED, 3)] {
        let answer = answered(world.service.point(point("bolt", Some(kept))).await);
        assert_eq!(answer.token, Some(token(RESTORED, 4)), "{kept}");
    }
}

pub(super) async fn a_read_model_that_was_never_level_with_the_log_says_so_at_once(mut world: World) {
    let Freshness::Stale { behind: 0, .. } = answered(world.point("bolt").await).freshness else {
        panic!("nobody knows how much there is")
    };
    let head = HeadSeen { position: Position::new(3), age: Duration::ZERO };
    world.fold_with_head(vec![put("bolt", None, "1")], head).await;
    for behind in [2, 1] {
        let freshness = answered(world.point("bolt").await).freshness;
        assert!(matches!(freshness, Freshness::Stale { behind: told, .. } if told == behind), "{freshness:?}");
        world.fold_with_head(Vec::new(), head).await;
    }
    assert_eq!(answered(world.point("bolt").await).freshness, Freshness::Fresh);
    world.fold_with_head(Vec::new(), HeadSeen { position: Position::new(9), age: Duration::ZERO }).await;
    assert_eq!(answered(world.point("bolt").await).freshness, Freshness::Fresh, "it was level a moment ago");
}

pub(super) async fn a_read_model_that_lags_or_is_held_says_so(mut world: World) {
    let head = HeadSeen { position: Position::new(6), age: Duration::ZERO };
    world.fold_with_head(vec![put("bolt", None, "1")], head).await;
    Runtime::tokio().sleep(LAG_MAX * 2).await;
    let Freshness::Stale { behind, age } = answered(world.point("bolt").await).freshness else { panic!("it lags") };
    assert_eq!(behind, 5);
    assert!(age > LAG_MAX, "{age:?}");
    world.fold(Vec::new()).await;
    assert_eq!(answered(world.point("bolt").await).freshness, Freshness::Fresh);
    let reason = Some("an event of an unknown type".to_owned());
    world.database.hold(world.owned.generation, world.owned.owner, reason).await.expect("it is held");
    assert!(matches!(answered(world.point("bolt").await).freshness, Freshness::Stale { .. }));
}

pub(super) async fn rows_that_the_log_does_not_have_contain_no_token_and_are_stale(mut world: World) {
    let epoch = |id, first| Epoch { id, first: Position::new(first).expect("positions count from 1") };
    world.lineage = Arc::new(Lineage(vec![epoch(FORKED, 1)]));
    for _ in 0..4 {
        world.fold(vec![put("nut", None, "1")]).await;
    }
    world.fork(Lineage(vec![epoch(FORKED, 1), epoch(RESTORED, 3)])).await;
    let answer = answered(world.point("nut").await);
    assert!(matches!(answer.freshness, Freshness::Stale { .. }), "{answer:?}");
    assert_eq!(answer.token, None, "it is no prefix of the log");
    let lost = world.service.point(point("nut", Some(token(FORKED, 3)))).await;
    assert_eq!(lost, QueryOutcome::EpochChanged);
    for kept in [token(FORKED, 2), token(RESTORED, 3)] {
        let outcome = world.service.point(point("nut", Some(kept))).await;
        let behind = kept.position.get();
        assert!(
            matches!(outcome, QueryOutcome::NotYetConsistent { behind: told, .. } if told == behind),
            "{kept}: {outcome:?}"
        );
    }
}
