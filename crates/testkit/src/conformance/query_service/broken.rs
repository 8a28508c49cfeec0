//! Services that break one promise each: what shows that the suite would notice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{ConsistencyToken, Tenant};
use query_service::{Answer, Body, Freshness, Handling, ListQuery, PointQuery, QueryOutcome, QueryService};

use super::world::EPOCH;

/// A way to break a promise.
enum Fault {
    /// Another question is asked than the client's.
    Asks(fn(&mut PointQuery)),
    /// Another answer is given than the right one.
    Answers(fn(&PointQuery, QueryOutcome) -> QueryOutcome),
    /// A refusal is not taken for an answer: another question is asked instead.
    AsksAgain(fn(&mut PointQuery, &QueryOutcome) -> bool),
    /// As [`Fault::Asks`], of lists.
    Lists(fn(&mut ListQuery)),
    /// As [`Fault::AsksAgain`], of lists.
    ListsAgain(fn(&mut ListQuery, &QueryOutcome) -> bool),
    /// Pages are counted from the first row.
    Offset,
}

/// A service that works but for one fault.
pub struct Broken {
    service: Arc<dyn QueryService>,
    fault: &'static Fault,
    /// How many rows came before the page that a token stands for.
    offsets: Mutex<BTreeMap<String, usize>>,
}

impl Broken {
    /// Every fault, by the promise that it breaks.
    pub fn faults() -> impl Iterator<Item = &'static str> {
        FAULTS.iter().map(|(promise, _)| *promise)
    }

    /// `service` with the fault that breaks `promise`.
    ///
    /// # Panics
    /// When there is no such fault.
    #[must_use]
    pub fn new(promise: &str, service: Arc<dyn QueryService>) -> Self {
        let (_, fault) = FAULTS.iter().find(|(name, _)| *name == promise).expect("a fault of the list");
        Self { service, fault, offsets: Mutex::default() }
    }

    async fn point_wrongly(&self, mut query: PointQuery) -> QueryOutcome {
        if let Fault::Asks(other) = self.fault {
            other(&mut query);
        }
        let outcome = self.service.point(query.clone()).await;
        match self.fault {
            Fault::Answers(other) => other(&query, outcome),
            Fault::AsksAgain(other) if other(&mut query, &outcome) => self.service.point(query).await,
            _ => outcome,
        }
    }

    async fn list_wrongly(&self, mut query: ListQuery) -> QueryOutcome {
        if let Fault::Lists(other) = self.fault {
            other(&mut query);
        }
        let mut outcome = self.service.list(query.clone()).await;
        match self.fault {
            Fault::ListsAgain(other) if other(&mut query, &outcome) => self.service.list(query).await,
            Fault::Offset => {
                self.count_from_the_first_row(query, &mut outcome).await;
                outcome
            }
            _ => outcome,
        }
    }

    async fn count_from_the_first_row(&self, mut query: ListQuery, outcome: &mut QueryOutcome) {
        let Some((page, next)) = page(outcome) else { return };
        let token = query.parameters.iter().find(|(name, _)| name == "page_token").map(|(_, token)| token.clone());
        let before = token.and_then(|token| self.offsets.lock().expect("no panic holds it").get(&token).copied());
        let before = before.unwrap_or(0);
        if let Some(next) = next {
            self.offsets.lock().expect("no panic holds it").insert(next.clone(), before + page.len());
        }
        query.parameters.retain(|(name, _)| !name.starts_with("page_"));
        let mut all = self.service.list(query).await;
        if let Some((all, _)) = self::page(&mut all) {
            *page = all.iter().skip(before).take(page.len()).cloned().collect();
        }
    }
}

impl QueryService for Broken {
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome> {
        Box::pin(self.point_wrongly(query))
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome> {
        Box::pin(self.list_wrongly(query))
    }
}

fn page(outcome: &mut QueryOutcome) -> Option<(&mut Vec<Bytes>, &Option<String>)> {
    match outcome {
        QueryOutcome::Answered(Answer { body: Body::Page { rows, next_page_token, .. }, .. }) => {
            Some((rows, next_page_token))
        }
        _ => None,
    }
}

fn edited(mut outcome: QueryOutcome, edit: impl FnOnce(&mut Answer)) -> QueryOutcome {
    if let QueryOutcome::Answered(answer) = &mut outcome {
        edit(answer);
    }
    outcome
}

fn without_page_token(query: &mut ListQuery) -> bool {
    query.parameters.retain(|(name, _)| name != "page_token");
    true
}

fn is_plain(query: &ListQuery) -> bool {
    query.parameters.iter().all(|(name, _)| name.starts_with("page_"))
}

static FAULTS: &[(&str, Fault)] = &[
    (
        "a_row_is_answered_as_stored_with_its_position",
        Fault::Answers(|_, outcome| {
            edited(outcome, |answer| {
                if let Body::Row { body, .. } = &mut answer.body {
                    let decoded: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
                    *body = decoded.to_string().into();
                }
            })
        }),
    ),
    (
        "an_answer_names_its_own_checkpoint",
        Fault::Answers(|_, outcome| {
            edited(outcome, |answer| answer.token = answer.token.filter(|token| token.epoch != EPOCH))
        }),
    ),
    (
        "a_missing_row_is_an_answer",
        Fault::Answers(|query, outcome| match outcome {
            QueryOutcome::Answered(answer) if answer.body == Body::NoRow && query.key == "nut" => {
                QueryOutcome::Internal
            }
            other => other,
        }),
    ),
    ("no_tenant_sees_anothers_rows", Fault::Asks(|query| query.tenant = Tenant::default())),
    (
        "an_unknown_read_model_is_told_the_known_ones",
        Fault::Answers(|_, outcome| match outcome {
            QueryOutcome::UnknownReadModel { .. } => QueryOutcome::UnknownReadModel { known: Vec::new() },
            other => other,
        }),
    ),
    // Of a valid key only the spelling in the path is looked up.
    ("a_key_is_found_however_it_was_encoded", Fault::Asks(|query| query.key = query.key.replace("%2f", "%252f"))),
    ("what_cannot_be_a_key_is_refused", Fault::Asks(|query| query.key = query.key.replace("//", "/"))),
    (
        "a_token_is_waited_for",
        Fault::Asks(|query| {
            if query.consistency.token.is_some_and(|token| token.position.get() == 3) {
                query.consistency.wait = Duration::ZERO;
            }
        }),
    ),
    (
        "a_strict_answer_contains_its_token",
        Fault::Asks(|query| {
            let at_once = query.consistency.wait.is_zero() && query.consistency.handling == Handling::Strict;
            query.consistency.token = query.consistency.token.filter(|token| token.epoch != EPOCH || !at_once);
        }),
    ),
    (
        "a_lenient_answer_says_what_it_lacks",
        Fault::Answers(|query, outcome| {
            let lenient = query.consistency.handling == Handling::Lenient;
            edited(outcome, |answer| {
                if lenient {
                    answer.freshness = Freshness::Fresh;
                }
            })
        }),
    ),
    (
        "a_token_of_an_unknown_epoch_is_not_reached_by_any_position",
        // Compares positions across epochs: the greater one is taken for the later one.
        Fault::AsksAgain(|query, outcome| {
            let token = query.consistency.token.filter(|token| token.epoch != EPOCH);
            query.consistency.token = token.map(|token| ConsistencyToken { epoch: EPOCH, ..token });
            token.is_some() && query.key == "bolt" && matches!(outcome, QueryOutcome::NotYetConsistent { .. })
        }),
    ),
    (
        "a_token_that_the_log_never_gave_is_refused_once_the_log_was_looked_at",
        Fault::Answers(|query, outcome| match outcome {
            QueryOutcome::EpochChanged if !query.consistency.wait.is_zero() => {
                QueryOutcome::NotYetConsistent { behind: 0, age: Duration::ZERO }
            }
            other => other,
        }),
    ),
    (
        "a_token_beyond_a_fork_is_refused",
        Fault::AsksAgain(|query, outcome| {
            query.consistency.token = None;
            let at_once = query.consistency.wait.is_zero();
            *outcome == QueryOutcome::EpochChanged && query.key == "bolt" && at_once
        }),
    ),
    (
        "a_read_model_that_was_never_level_with_the_log_says_so_at_once",
        Fault::Answers(|_, outcome| {
            edited(outcome, |answer| {
                if matches!(answer.freshness, Freshness::Stale { behind: 2, .. }) {
                    answer.freshness = Freshness::Fresh;
                }
            })
        }),
    ),
    (
        "a_read_model_that_lags_or_is_held_says_so",
        Fault::Answers(|query, outcome| {
            let without_token = query.consistency.token.is_none();
            edited(outcome, |answer| {
                let is_short = matches!(answer.freshness, Freshness::Stale { behind: 1..=2, .. });
                if without_token && answer.token.is_some() && !is_short {
                    answer.freshness = Freshness::Fresh;
                }
            })
        }),
    ),
    (
        "rows_that_the_log_does_not_have_contain_no_token_and_are_stale",
        Fault::Answers(|_, outcome| {
            edited(outcome, |answer| {
                if answer.token.is_none() && matches!(answer.body, Body::Row { .. }) {
                    answer.freshness = Freshness::Fresh;
                }
            })
        }),
    ),
    ("a_list_contains_its_token", Fault::Lists(|query| query.consistency.token = None)),
    (
        "filters_choose_rows_exactly",
        Fault::Lists(|query| {
            // Of several filters on one field the last one wins.
            let sent = query.parameters.clone();
            let mut later = sent.iter();
            query.parameters.retain(|(name, value)| {
                later.next();
                !value.contains('.') || !later.clone().any(|(other, _)| other == name)
            });
        }),
    ),
    (
        "rows_are_ordered_with_nulls_last",
        Fault::Lists(|query| {
            for (_, order) in query.parameters.iter_mut().filter(|(name, _)| name == "order_by") {
                *order = order.replace(" desc", "");
            }
        }),
    ),
    ("what_lists_cannot_do_is_refused", Fault::Lists(|query| query.parameters.retain(|(name, _)| name != "weight"))),
    ("pages_go_on_where_the_last_one_ended", Fault::Offset),
    (
        "a_forged_page_token_is_refused",
        Fault::ListsAgain(|query, outcome| match outcome {
            QueryOutcome::InvalidPageToken { detail } if is_plain(query) && !detail.contains("rebuilt") => {
                without_page_token(query)
            }
            _ => false,
        }),
    ),
    (
        "a_page_token_serves_its_own_query_only",
        Fault::ListsAgain(|query, outcome| match outcome {
            QueryOutcome::InvalidPageToken { .. } if !is_plain(query) => without_page_token(query),
            _ => false,
        }),
    ),
    (
        "a_page_token_ends_with_its_generation",
        Fault::ListsAgain(|query, outcome| match outcome {
            QueryOutcome::InvalidPageToken { detail } if detail.contains("rebuilt") => without_page_token(query),
            _ => false,
        }),
    ),
];
