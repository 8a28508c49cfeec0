//! Services that break one promise each, made out of one that keeps them all.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use command_database::{EventStore, ReadLimit};
use command_service::{CommandOutcome, CommandRequest, CommandService, Precondition, UnavailableReason};
use futures_util::future::{BoxFuture, FutureExt, ready};
use model::Tenant;
use runtime::Runtime;

use super::Subject;

/// A promise, and how to break it and no other.
pub struct Broken {
    /// The name of the test that must fail.
    pub promise: &'static str,
    spoil: fn(Good) -> Arc<dyn CommandService>,
}

impl Broken {
    /// `subject` with its service spoilt.
    #[must_use]
    pub fn spoil(&self, subject: Subject) -> Subject {
        let Subject { service, log, runtime, .. } = &subject;
        let good = Good { service: Arc::clone(service), log: Arc::clone(log), runtime: runtime.clone() };
        Subject { service: (self.spoil)(good), ..subject }
    }
}

/// One for each promise of the suite.
pub const ALL: &[Broken] = &[
    Broken { promise: "an_accepted_command_is_in_the_log_where_its_answer_says", spoil: tells_the_next_position },
    Broken { promise: "an_event_says_who_asked_for_it_and_why", spoil: forgets_the_correlation },
    Broken { promise: "a_command_without_events_is_accepted_and_writes_none", spoil: has_no_token_without_events },
    Broken { promise: "a_commands_events_are_contiguous", spoil: tears_commands_apart },
    Broken { promise: "a_command_runs_to_its_end_when_nobody_waits_for_it", spoil: works_only_while_watched },
    Broken { promise: "tenants_have_streams_of_their_own", spoil: knows_one_tenant },
    Broken { promise: "commands_of_one_aggregate_run_in_the_order_they_were_sent", spoil: delays_some_deposits },
    Broken { promise: "every_decision_sees_all_decisions_before_it", spoil: overdraws_under_pressure },
    Broken { promise: "a_mistake_in_the_domain_fails_its_own_command_only", spoil: never_recovers },
    Broken { promise: "a_retry_with_its_key_gets_the_same_answer", spoil: forgets_the_version_of_a_replay },
    Broken {
        promise: "a_retry_gets_the_refusal_it_got_before_even_if_it_would_be_accepted_now",
        spoil: decides_stored_refusals_again,
    },
    Broken { promise: "a_key_with_another_payload_is_refused", spoil: executes_under_a_used_key },
    Broken { promise: "retries_at_the_same_time_have_one_effect", spoil: does_not_see_keys_under_way },
    Broken {
        promise: "a_retry_after_success_does_not_meet_its_own_precondition",
        spoil: compares_versions_before_keys,
    },
    Broken { promise: "a_precondition_is_compared_with_the_streams_version", spoil: does_not_know_exists },
    Broken { promise: "of_many_with_one_version_in_mind_one_wins", spoil: ignores_versions_under_pressure },
    Broken { promise: "what_is_no_command_is_answered_with_what_would_be_one", spoil: keeps_aggregates_secret },
    Broken { promise: "a_refusal_has_its_code_and_its_reason", spoil: refuses_without_a_reason },
    Broken { promise: "a_command_with_too_many_events_is_refused_whole", spoil: executes_what_fits },
    Broken { promise: "overload_is_refused_without_effect", spoil: executes_what_it_refused },
];

#[derive(Clone)]
struct Good {
    service: Arc<dyn CommandService>,
    log: Arc<dyn EventStore>,
    runtime: Runtime,
}

impl Good {
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        self.service.execute(request)
    }
}

struct Altered<F>(F);

impl<F> CommandService for Altered<F>
where
    F: Fn(CommandRequest) -> BoxFuture<'static, CommandOutcome> + Send + Sync + 'static,
{
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        (self.0)(request)
    }
}

fn altered<F>(execute: F) -> Arc<dyn CommandService>
where
    F: Fn(CommandRequest) -> BoxFuture<'static, CommandOutcome> + Send + Sync + 'static,
{
    Arc::new(Altered(execute))
}

fn with_requests(good: Good, alter: fn(&mut CommandRequest)) -> Arc<dyn CommandService> {
    altered(move |mut request| {
        alter(&mut request);
        good.execute(request)
    })
}

fn with_outcomes(good: Good, alter: fn(&mut CommandOutcome)) -> Arc<dyn CommandService> {
    altered(move |request| {
        let answer = good.execute(request);
        Box::pin(answer.map(move |mut outcome| {
            alter(&mut outcome);
            outcome
        }))
    })
}

/// Executes `instead` of what came to an outcome that is `bad`.
fn with_another_try(
    good: Good,
    is_bad: fn(&CommandOutcome) -> bool,
    instead: fn(CommandRequest) -> CommandRequest,
) -> Arc<dyn CommandService> {
    altered(move |request| {
        let (good, answer) = (good.clone(), good.execute(request.clone()));
        Box::pin(async move {
            let outcome = answer.await;
            if is_bad(&outcome) { good.execute(instead(request)).await } else { outcome }
        })
    })
}

fn without_its_key(request: CommandRequest) -> CommandRequest {
    CommandRequest { idempotency: None, ..request }
}

/// How many commands are under way.
#[derive(Clone, Default)]
struct Crowd(Arc<AtomicUsize>);

impl Crowd {
    /// Counts until `answer` is there. Returns how many there were before, too.
    fn join(&self, answer: BoxFuture<'static, CommandOutcome>) -> BoxFuture<'static, CommandOutcome> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let crowd = self.clone();
        Box::pin(answer.inspect(move |_| {
            crowd.0.fetch_sub(1, Ordering::SeqCst);
        }))
    }

    fn is_large(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 8
    }
}

fn tells_the_next_position(good: Good) -> Arc<dyn CommandService> {
    with_outcomes(good, |outcome| {
        if let CommandOutcome::Accepted { events, .. } = outcome {
            events.iter_mut().for_each(|event| event.position = event.position.next());
        }
    })
}

fn forgets_the_correlation(good: Good) -> Arc<dyn CommandService> {
    with_requests(good, |request| request.correlation = None)
}

fn has_no_token_without_events(good: Good) -> Arc<dyn CommandService> {
    with_outcomes(good, |outcome| {
        if let CommandOutcome::Accepted { events, token, .. } = outcome
            && events.is_empty()
        {
            *token = None;
        }
    })
}

fn parts(request: &CommandRequest) -> Option<(u64, usize)> {
    let fields: serde_json::Value = serde_json::from_slice(&request.fields).ok()?;
    let parts = fields.get("parts")?.as_u64()?;
    Some((fields.get("amount")?.as_u64()?, usize::try_from(parts).ok()?))
}

fn part(request: &CommandRequest, amount: u64, parts: usize) -> CommandRequest {
    let fields = Bytes::from(format!(r#"{{"amount":{amount},"parts":{parts}}}"#));
    CommandRequest { fields, ..request.clone() }
}

/// Small commands of several events, where many are under way.
fn tears_commands_apart(good: Good) -> Arc<dyn CommandService> {
    let crowd = Crowd::default();
    altered(move |request| {
        let answer = match parts(&request) {
            Some((amount, parts @ 2..=8)) if crowd.is_large() => {
                let first = good.execute(part(&request, amount, parts - 1));
                let (good, rest) = (good.clone(), part(&request, amount, 1));
                Box::pin(async move {
                    first.await;
                    good.execute(rest).await
                })
            }
            _ => good.execute(request),
        };
        crowd.join(answer)
    })
}

fn works_only_while_watched(good: Good) -> Arc<dyn CommandService> {
    altered(move |request| {
        let good = good.clone();
        Box::pin(async move { good.execute(request).await })
    })
}

fn knows_one_tenant(good: Good) -> Arc<dyn CommandService> {
    with_requests(good, |request| request.tenant = Tenant::default())
}

fn delays_some_deposits(good: Good) -> Arc<dyn CommandService> {
    let count = AtomicU64::new(0);
    altered(move |request| {
        if request.command != "deposit" {
            return good.execute(request);
        }
        let pause = Duration::from_millis(count.fetch_add(1, Ordering::SeqCst) * 7 % 5);
        let delayed = good.clone();
        let answer = good.runtime.spawn("delayed deposit", async move {
            delayed.runtime.sleep(pause).await;
            delayed.execute(request).await
        });
        Box::pin(answer.map(|outcome| outcome.unwrap_or(CommandOutcome::Unknown)))
    })
}

/// What is refused for want of money is lent.
fn overdraws_under_pressure(good: Good) -> Arc<dyn CommandService> {
    let crowd = Crowd::default();
    altered(move |request| {
        let answer = good.execute(request.clone());
        if !crowd.is_large() {
            return crowd.join(answer);
        }
        let good = good.clone();
        crowd.join(Box::pin(async move {
            match answer.await {
                CommandOutcome::Refused { code, .. } if code == "not-enough" => {
                    good.execute(CommandRequest { command: "deposit".to_owned(), ..request.clone() }).await;
                    good.execute(request).await
                }
                outcome => outcome,
            }
        }))
    })
}

fn never_recovers(good: Good) -> Arc<dyn CommandService> {
    let broken = Arc::new(AtomicBool::new(false));
    altered(move |request| {
        if broken.load(Ordering::SeqCst) {
            return Box::pin(ready(CommandOutcome::Internal));
        }
        let broken = Arc::clone(&broken);
        Box::pin(good.execute(request).inspect(move |outcome| {
            if matches!(outcome, CommandOutcome::Internal) {
                broken.store(true, Ordering::SeqCst);
            }
        }))
    })
}

fn forgets_the_version_of_a_replay(good: Good) -> Arc<dyn CommandService> {
    with_outcomes(good, |outcome| {
        if let CommandOutcome::Accepted { version, replayed: true, .. } = outcome {
            *version = None;
        }
    })
}

fn decides_stored_refusals_again(good: Good) -> Arc<dyn CommandService> {
    let is_stored = |outcome: &CommandOutcome| matches!(outcome, CommandOutcome::Refused { replayed: true, .. });
    with_another_try(good, is_stored, without_its_key)
}

fn executes_under_a_used_key(good: Good) -> Arc<dyn CommandService> {
    with_another_try(good, |outcome| *outcome == CommandOutcome::IdempotencyKeyReused, without_its_key)
}

fn does_not_see_keys_under_way(good: Good) -> Arc<dyn CommandService> {
    let under_way = Arc::new(Mutex::new(BTreeSet::new()));
    altered(move |request| {
        let Some(idempotency) = request.idempotency.filter(|_| request.precondition == Precondition::None) else {
            return good.execute(request);
        };
        let first = under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(idempotency.key);
        let answer = good.execute(if first { request } else { without_its_key(request) });
        let under_way = Arc::clone(&under_way);
        Box::pin(answer.inspect(move |_| {
            if first {
                under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&idempotency.key);
            }
        }))
    })
}

fn compares_versions_before_keys(good: Good) -> Arc<dyn CommandService> {
    altered(move |request| {
        if request.idempotency.is_none() {
            return good.execute(request);
        }
        let good = good.clone();
        Box::pin(async move {
            let events = good.log.read(None, ReadLimit::default()).await.unwrap_or_default();
            let current = events.iter().rev().find(|event| *event.stream.id == *request.id).map(|event| event.version);
            if request.precondition.is_met_by(current) {
                good.execute(request).await
            } else {
                CommandOutcome::PreconditionFailed { current }
            }
        })
    })
}

fn does_not_know_exists(good: Good) -> Arc<dyn CommandService> {
    with_requests(good, |request| {
        if request.precondition == Precondition::Exists {
            request.precondition = Precondition::None;
        }
    })
}

fn ignores_versions_under_pressure(good: Good) -> Arc<dyn CommandService> {
    let crowd = Crowd::default();
    altered(move |mut request| {
        if crowd.is_large() && matches!(request.precondition, Precondition::Version(_)) {
            request.precondition = Precondition::None;
        }
        crowd.join(good.execute(request))
    })
}

fn keeps_aggregates_secret(good: Good) -> Arc<dyn CommandService> {
    with_outcomes(good, |outcome| {
        if let CommandOutcome::UnknownAggregate { known } = outcome {
            known.clear();
        }
    })
}

fn refuses_without_a_reason(good: Good) -> Arc<dyn CommandService> {
    with_outcomes(good, |outcome| {
        if let CommandOutcome::Refused { detail, .. } = outcome {
            detail.clear();
        }
    })
}

fn executes_what_fits(good: Good) -> Arc<dyn CommandService> {
    altered(move |request| {
        let answer = match parts(&request) {
            // As many as the suite allows.
            Some((amount, parts)) if parts > super::LIMIT => {
                good.execute(part(&request, amount, super::LIMIT)).map(|_| too_large()).boxed()
            }
            _ => good.execute(request),
        };
        Box::pin(answer)
    })
}

fn too_large() -> CommandOutcome {
    CommandOutcome::TooLarge { detail: "what fits was executed".to_owned() }
}

fn executes_what_it_refused(good: Good) -> Arc<dyn CommandService> {
    altered(move |request| {
        let (good, answer) = (good.clone(), good.execute(request.clone()));
        Box::pin(async move {
            let outcome = answer.await;
            if matches!(outcome, CommandOutcome::Unavailable { reason: UnavailableReason::Overloaded, .. }) {
                while let CommandOutcome::Unavailable { .. } = good.execute(request.clone()).await {
                    good.runtime.sleep(Duration::from_millis(1)).await;
                }
            }
            outcome
        })
    })
}
