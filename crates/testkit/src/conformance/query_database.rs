//! What every implementation of [`RowWriter`] and [`RowReader`] promises, one function a promise.
//!
//! Implement [`Subject`], then write `testkit::query_database_promises!(expression of a fresh subject);` in a test module.

mod faults;
mod fixture;
mod forks;
mod generations;
mod reading;
mod sorting;
mod writing;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use model::RowKey;
use query_database::{Generation, RowReader, RowWriter};

/// Both sides of a database.
pub trait Database: RowWriter + RowReader {}

impl<T: RowWriter + RowReader> Database for T {}

/// An implementation under test: one database, empty at first. Each promise gets a fresh one.
pub trait Subject: Send + Sync {
    /// Opens the database with all that was stored in it. What was opened before is dropped by then.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Database>>;

    /// Changes one byte of a stored row's body behind the database's back, while it is closed.
    fn damage<'a>(&'a self, generation: Generation, key: &'a RowKey) -> BoxFuture<'a, ()>;
}

/// A promise and how it is checked: by panicking where it is broken.
pub struct Promise {
    /// A sentence.
    pub name: &'static str,
    check: for<'a> fn(&'a dyn Subject) -> BoxFuture<'a, ()>,
}

impl Promise {
    /// Checks it on a fresh subject.
    ///
    /// # Panics
    /// Where it is broken.
    pub async fn check(&self, subject: &dyn Subject) {
        (self.check)(subject).await;
    }
}

macro_rules! promises {
    ($($module:ident: $($promise:ident)*;)*) => {
        /// All promises.
        pub const PROMISES: &[Promise] = &[$($(
            Promise { name: stringify!($promise), check: |subject| Box::pin($module::$promise(subject)) },
        )*)*];

        /// A test for each promise of the Query Database. The argument makes a fresh
        /// [`Subject`](crate::conformance::query_database::Subject).
        #[macro_export]
        macro_rules! query_database_promises {
            ($subject:expr) => {$($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let promise = $crate::conformance::query_database::PROMISES
                        .iter()
                        .find(|promise| promise.name == stringify!($promise))
                        .expect("the macro and the table have the same source");
                    promise.check(&$subject).await;
                }
            )*)*};
        }
    };
}

promises! {
    writing:
        after_reopening_the_rows_are_those_of_the_checkpoint
        a_commit_from_another_checkpoint_is_fenced
        a_commit_of_a_former_owner_is_fenced
        a_fenced_commit_stores_nothing
        a_row_is_replaced_whole
        a_deleted_row_is_gone
        the_rows_of_a_fold_come_in_the_order_of_their_keys
        a_body_is_served_byte_for_byte
        a_former_owner_cannot_hold
        a_former_owner_does_not_refresh_the_head;
    reading:
        a_point_read_never_mixes_two_commits
        a_page_never_mixes_two_commits
        an_absent_row_still_has_a_checkpoint
        a_tenant_sees_its_own_rows_only
        nothing_serves_before_a_generation_is_taken
        the_head_grows_older_until_it_is_refreshed
        the_lineage_is_the_one_last_committed
        lives_that_the_log_no_longer_has_are_remembered
        a_hold_shows_until_it_is_released
        a_waiting_reader_goes_on_although_nothing_changes;
    faults:
        a_damaged_row_is_not_served
        a_damaged_row_is_not_folded
        a_damaged_row_is_not_listed;
    generations:
        the_first_generation_serves_at_once
        another_generation_serves_from_the_switch_on
        the_same_shape_is_the_same_generation
        another_version_or_shape_is_another_generation
        a_generation_that_is_behind_does_not_switch
        an_empty_generation_replaces_an_empty_one
        a_former_owner_cannot_switch
        a_list_of_a_generation_that_no_longer_serves_is_none
        the_old_generation_can_catch_up_and_serve_again
        all_generations_are_counted_and_shown;
    forks:
        a_forked_generation_serves_on_and_is_not_taken_again
        a_forked_generation_is_written_to_by_nobody
        a_forked_generation_is_told_by_its_reads
        a_checkpoint_that_has_moved_on_is_not_marked
        a_forked_generation_is_replaced_wherever_it_stands
        a_generation_beyond_a_fork_is_replaced_wherever_it_stands
        a_generation_below_a_fork_is_replaced_by_none_that_is_behind
        only_what_has_the_whole_log_replaces_another_history
        a_generation_beyond_a_fork_does_not_replace_one_of_the_log;
    sorting:
        text_sorts_by_its_bytes
        integers_sort_exactly
        money_sorts_exactly
        times_sort_by_instant
        false_sorts_before_true
        nulls_come_last_either_way
        equal_rows_are_ordered_by_their_keys
        several_fields_sort_in_turn_each_its_own_way
        without_an_order_rows_come_by_their_keys
        pages_visit_each_row_once
        a_page_says_whether_there_are_more
        filters_compare_exactly
        all_filters_must_hold;
}

// After the macro that it uses.
#[cfg(test)]
mod broken;
