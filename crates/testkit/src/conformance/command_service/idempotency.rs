//! One key, one effect, one answer.

use command_service::{CommandOutcome, Precondition};

use super::{Checked, Request, Subject, ensure, promise_all};

promise_all! {
    a_retry_with_its_key_gets_the_same_answer,
    a_retry_gets_the_refusal_it_got_before_even_if_it_would_be_accepted_now,
    a_key_with_another_payload_is_refused,
    retries_at_the_same_time_have_one_effect,
    a_retry_after_success_does_not_meet_its_own_precondition,
}

async fn a_retry_with_its_key_gets_the_same_answer(subject: &Subject) -> Checked {
    let requests = [
        Request::open("a").keyed("k"),
        Request::deposit_parts("a", 1, 3).keyed("k"),
        Request::deposit("a", 0).keyed("nothing happens"),
    ];
    for request in requests {
        let first = subject.execute(request.clone()).await;
        subject.execute_all([Request::open("b"), Request::deposit("b", 1), Request::deposit("a", 1)]).await;
        let length = subject.events().await?.len();
        let second = subject.execute(request).await;
        ensure!(subject.events().await?.len() == length, "the retry wrote something: {second:?}");
        ensure!(is_replayed(&second), "not marked as replayed: {second:?}");
        ensure!(unmarked(first.clone()) == unmarked(second.clone()), "first {first:?}, then {second:?}");
    }
    Ok(())
}

async fn a_retry_gets_the_refusal_it_got_before_even_if_it_would_be_accepted_now(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    let request = Request::withdraw("a", 5).keyed("k");
    let first = subject.execute(request.clone()).await;
    ensure!(matches!(first, CommandOutcome::Refused { replayed: false, .. }), "{first:?}");
    subject.execute(Request::deposit("a", 5)).await;
    let second = subject.execute(request).await;
    ensure!(is_replayed(&second) && unmarked(first.clone()) == unmarked(second.clone()), "{first:?}, then {second:?}");
    ensure!(subject.events().await?.len() == 2, "the retry wrote something");
    Ok(())
}

async fn a_key_with_another_payload_is_refused(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    subject.execute(Request::deposit("a", 1).keyed("k")).await;
    let outcome = subject.execute(Request::deposit("a", 2).keyed("k")).await;
    ensure!(outcome == CommandOutcome::IdempotencyKeyReused, "{outcome:?}");
    ensure!(subject.events().await?.len() == 2, "it was executed all the same");
    Ok(())
}

async fn retries_at_the_same_time_have_one_effect(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    let requests = (0..20).map(|index| Request::deposit("a", 1).keyed(if index % 2 == 0 { "even" } else { "odd" }));
    for outcome in subject.execute_all(requests).await {
        ensure!(matches!(outcome, CommandOutcome::Accepted { .. }), "{outcome:?}");
    }
    let written = subject.events().await?.len() - 1;
    ensure!(written == 2, "two keys had {written} effects");
    Ok(())
}

async fn a_retry_after_success_does_not_meet_its_own_precondition(subject: &Subject) -> Checked {
    let open = Request::open("a").keyed("k").demanding(Precondition::Absent);
    let version = |number: u64| Precondition::Version(model::StreamVersion::FIRST.plus(number - 1));
    let deposit = Request::deposit("a", 1).keyed("k").demanding(version(1));
    for request in [open.clone(), deposit.clone(), open, deposit] {
        let outcome = subject.execute(request).await;
        ensure!(matches!(outcome, CommandOutcome::Accepted { .. }), "{outcome:?}");
    }
    let both = subject.execute_all([
        Request::deposit("a", 2).keyed("twice").demanding(version(2)),
        Request::deposit("a", 2).keyed("twice").demanding(version(2)),
    ]);
    for outcome in both.await {
        ensure!(matches!(outcome, CommandOutcome::Accepted { .. }), "at the same time: {outcome:?}");
    }
    Ok(())
}

fn is_replayed(outcome: &CommandOutcome) -> bool {
    matches!(outcome, CommandOutcome::Accepted { replayed: true, .. } | CommandOutcome::Refused { replayed: true, .. })
}

/// The answer without the mark that it was given before.
fn unmarked(mut outcome: CommandOutcome) -> CommandOutcome {
    if let CommandOutcome::Accepted { replayed, .. } | CommandOutcome::Refused { replayed, .. } = &mut outcome {
        *replayed = false;
    }
    outcome
}
