//! The suite, tried on a database in memory that breaks one promise at a time: exactly that one is noticed.

mod memory;

use std::{collections::BTreeSet, panic::AssertUnwindSafe};

use futures_util::FutureExt;

use self::memory::{Fault, InMemory};
use super::PROMISES;

query_database_promises!(InMemory::with(None));

async fn broken_promises(fault: Fault) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    for promise in PROMISES {
        let subject = InMemory::with(Some(fault));
        if AssertUnwindSafe(promise.check(&subject)).catch_unwind().await.is_err() {
            broken.insert(promise.name);
        }
    }
    broken
}

macro_rules! each_fault_breaks_its_own_promise_only {
    ($($fault:ident => $promise:ident,)*) => {$(
        #[expect(non_snake_case, reason = "the name is that of the fault")]
        mod $fault {
            #[tokio::test]
            async fn $promise() {
                let broken = super::broken_promises(super::Fault::$fault).await;
                assert_eq!(broken, [stringify!($promise)].into());
            }
        }
    )*

        #[test]
        fn every_promise_has_a_fault_that_breaks_it() {
            let broken: BTreeSet<_> = [$(stringify!($promise)),*].into();
            assert_eq!(broken, PROMISES.iter().map(|promise| promise.name).collect());
        }
    };
}

each_fault_breaks_its_own_promise_only! {
    RowsDurableAfterTheirCheckpoint => after_reopening_the_rows_are_those_of_the_checkpoint,
    FromNotCompared => a_commit_from_another_checkpoint_is_fenced,
    OwnerNotCompared => a_commit_of_a_former_owner_is_fenced,
    RowsBeforeTheComparison => a_fenced_commit_stores_nothing,
    OldIndexColumnsKept => a_row_is_replaced_whole,
    DeleteIgnored => a_deleted_row_is_gone,
    FoldedRowsSorted => the_rows_of_a_fold_come_in_the_order_of_their_keys,
    BodySpelledAnew => a_body_is_served_byte_for_byte,
    HoldOwnerNotCompared => a_former_owner_cannot_hold,
    HeadOwnerNotCompared => a_former_owner_does_not_refresh_the_head,
    RowAndCheckpointReadApart => a_point_read_never_mixes_two_commits,
    PageAndCheckpointReadApart => a_page_never_mixes_two_commits,
    NoCheckpointWithoutRow => an_absent_row_still_has_a_checkpoint,
    TenantIgnored => a_tenant_sees_its_own_rows_only,
    EmptyInsteadOfNotServing => nothing_serves_before_a_generation_is_taken,
    AgeForgotten => the_head_grows_older_until_it_is_refreshed,
    FirstLineageKept => the_lineage_is_the_one_last_committed,
    FormerLivesForgotten => lives_that_the_log_no_longer_has_are_remembered,
    HoldNeverReleased => a_hold_shows_until_it_is_released,
    WaitsForAChange => a_waiting_reader_goes_on_although_nothing_changes,
    ChecksumNotComparedByPoint => a_damaged_row_is_not_served,
    ChecksumNotComparedByRows => a_damaged_row_is_not_folded,
    ChecksumNotComparedByList => a_damaged_row_is_not_listed,
    ServingNotTold => the_first_generation_serves_at_once,
    OldDeclarationServed => another_generation_serves_from_the_switch_on,
    ShapesForgotten => the_same_shape_is_the_same_generation,
    ShapeNotCompared => another_version_or_shape_is_another_generation,
    SwitchesBackward => a_generation_that_is_behind_does_not_switch,
    EmptyOnesNeverSwitch => an_empty_generation_replaces_an_empty_one,
    SwitchOwnerNotCompared => a_former_owner_cannot_switch,
    AnyGenerationListed => a_list_of_a_generation_that_no_longer_serves_is_none,
    OldRowsDropped => the_old_generation_can_catch_up_and_serve_again,
    OnlyServingOnesShown => all_generations_are_counted_and_shown,
    ForkedTaken => a_forked_generation_serves_on_and_is_not_taken_again,
    ForkedOwnerNotFenced => a_forked_generation_is_written_to_by_nobody,
    MarkNotTold => a_forked_generation_is_told_by_its_reads,
    MarkNotCompared => a_checkpoint_that_has_moved_on_is_not_marked,
    MarkIgnoredBySwitch => a_forked_generation_is_replaced_wherever_it_stands,
    PositionsOfTwoHistoriesCompared => a_generation_beyond_a_fork_is_replaced_wherever_it_stands,
    EveryForkIsAnotherHistory => a_generation_below_a_fork_is_replaced_by_none_that_is_behind,
    SwitchesBeforeTheHead => only_what_has_the_whole_log_replaces_another_history,
    SwitchesBeyondAFork => a_generation_beyond_a_fork_does_not_replace_one_of_the_log,
    TextIgnoresCase => text_sorts_by_its_bytes,
    IntegersAsFloats => integers_sort_exactly,
    MoneyAsText => money_sorts_exactly,
    TimesByTheSecond => times_sort_by_instant,
    TrueFirst => false_sorts_before_true,
    NullsFirst => nulls_come_last_either_way,
    KeysFollowTheLastDirection => equal_rows_are_ordered_by_their_keys,
    OneDirectionForAll => several_fields_sort_in_turn_each_its_own_way,
    KeysIgnoreCaseWithoutOrder => without_an_order_rows_come_by_their_keys,
    PagingDropsTies => pages_visit_each_row_once,
    MoreWheneverFull => a_page_says_whether_there_are_more,
    NullIsLess => filters_compare_exactly,
    OnlyTheFirstFilter => all_filters_must_hold,
}
