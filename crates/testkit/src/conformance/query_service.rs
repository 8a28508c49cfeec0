//! What every Query Service promises: its own in memory as well as one reached over a network.
//!
//! The rows come from an embedded Query Database that the suite writes to as an Event Handler would. The service under test
//! is made over it, must know the read model [`READ_MODEL`], must report a lag of more than [`LAG_MAX`], and must have heard
//! of another life of the log after so long.

mod broken;
mod lists;
mod points;
mod world;

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::LocalBoxFuture};
use query_database::RowReader;
use query_service::QueryService;

use self::world::World;
pub use self::{
    broken::Broken,
    world::{LAG_MAX, READ_MODEL},
};

/// Makes the service under test over these rows.
pub type Make<'a> = &'a dyn Fn(Arc<dyn RowReader>) -> Arc<dyn QueryService>;

/// One promise, and what shows that it is kept.
type Promise = (&'static str, fn(World) -> LocalBoxFuture<'static, ()>);

macro_rules! promises {
    ($($module:ident::$name:ident,)*) => {
        const PROMISES: &[Promise] = &[$((stringify!($name), |world| $module::$name(world).boxed_local())),*];
    };
}

promises! {
    points::a_row_is_answered_as_stored_with_its_position,
    points::an_answer_names_its_own_checkpoint,
    points::a_missing_row_is_an_answer,
    points::no_tenant_sees_anothers_rows,
    points::an_unknown_read_model_is_told_the_known_ones,
    points::a_key_is_found_however_it_was_encoded,
    points::what_cannot_be_a_key_is_refused,
    points::a_token_is_waited_for,
    points::a_strict_answer_contains_its_token,
    points::a_lenient_answer_says_what_it_lacks,
    points::a_token_of_an_unknown_epoch_is_not_reached_by_any_position,
    points::a_token_that_the_log_never_gave_is_refused_once_the_log_was_looked_at,
    points::a_token_beyond_a_fork_is_refused,
    points::a_read_model_that_was_never_level_with_the_log_says_so_at_once,
    points::a_read_model_that_lags_or_is_held_says_so,
    points::rows_that_the_log_does_not_have_contain_no_token_and_are_stale,
    lists::a_list_contains_its_token,
    lists::filters_choose_rows_exactly,
    lists::rows_are_ordered_with_nulls_last,
    lists::what_lists_cannot_do_is_refused,
    lists::pages_go_on_where_the_last_one_ended,
    lists::a_forged_page_token_is_refused,
    lists::a_page_token_serves_its_own_query_only,
    lists::a_page_token_ends_with_its_generation,
}

/// Which promises the services that `make` makes break; none, if all is well.
pub async fn broken_promises(make: Make<'_>) -> Vec<&'static str> {
    let mut broken = Vec::new();
    for (name, promise) in PROMISES {
        let world = World::new(make).await;
        if AssertUnwindSafe(promise(world)).catch_unwind().await.is_err() {
            broken.push(*name);
        }
    }
    broken
}
