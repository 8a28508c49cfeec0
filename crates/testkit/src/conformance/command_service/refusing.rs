//! What is not accepted has no effect.

use command_service::{CommandOutcome, UnavailableReason};

use super::{Checked, LIMIT, Request, Subject, ensure, promise_all};

promise_all! {
    what_is_no_command_is_answered_with_what_would_be_one,
    a_refusal_has_its_code_and_its_reason,
    a_command_with_too_many_events_is_refused_whole,
    overload_is_refused_without_effect,
}

async fn what_is_no_command_is_answered_with_what_would_be_one(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    let aggregate = Request::open("a").with(|request| request.aggregate = "acount".to_owned());
    let outcome = subject.execute(aggregate).await;
    ensure!(outcome == CommandOutcome::UnknownAggregate { known: vec!["account".to_owned()] }, "{outcome:?}");

    let known = ["open", "deposit", "deposit_parts", "withdraw", "explode"].map(str::to_owned).to_vec();
    let outcome = subject.execute(Request::new("a", "opne", "{}")).await;
    ensure!(outcome == CommandOutcome::UnknownCommand { known }, "{outcome:?}");

    for id in [String::new(), "a".repeat(257), "ä".repeat(43), "a\nb".to_owned(), "a\u{7f}".to_owned()] {
        let outcome = subject.execute(Request::open(&id)).await;
        ensure!(matches!(outcome, CommandOutcome::InvalidId { .. }), "id {id:?}: {outcome:?}");
    }
    for (fields, pointer) in [
        ("", ""),
        ("{", ""),
        (r#"{"amount":"5"}"#, "/amount"),
        (r#"{"amount":-5}"#, "/amount"),
        (r#"{"amount":5,"amonut":5}"#, "/amonut"),
    ] {
        let outcome = subject.execute(Request::new("a", "deposit", fields)).await;
        let CommandOutcome::Invalid { errors } = &outcome else {
            return Err(format!("fields {fields:?}: {outcome:?}"));
        };
        ensure!(errors.iter().any(|error| error.pointer == pointer), "fields {fields:?}: {errors:?}");
    }
    ensure!(subject.events().await?.len() == 1, "something was written");
    let longest = "é".repeat(42);
    let outcome = subject.execute(Request::open(&longest)).await;
    ensure!(matches!(outcome, CommandOutcome::Accepted { .. }), "the longest id: {outcome:?}");
    Ok(())
}

async fn a_refusal_has_its_code_and_its_reason(subject: &Subject) -> Checked {
    subject.execute_all([Request::open("a"), Request::deposit("a", 5)]).await;
    let outcome = subject.execute(Request::withdraw("a", 7)).await;
    let expected = CommandOutcome::Refused {
        code: "not-enough".to_owned(),
        title: "Not enough is in the account".to_owned(),
        detail: "7 cannot be taken from 5".to_owned(),
        replayed: false,
    };
    ensure!(outcome == expected, "{outcome:?}");
    ensure!(subject.events().await?.len() == 2, "something was written");
    Ok(())
}

async fn a_command_with_too_many_events_is_refused_whole(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    let outcomes = subject
        .execute_all([
            Request::deposit_parts("a", 1, LIMIT),
            Request::deposit_parts("a", 1, LIMIT + 1),
            Request::withdraw("a", LIMIT as u64),
            Request::withdraw("a", 1),
        ])
        .await;
    let [fits, too_large, all, more] = outcomes.as_slice() else {
        return Err("an answer for each command".to_owned());
    };
    ensure!(matches!(fits, CommandOutcome::Accepted { .. }), "{fits:?}");
    ensure!(matches!(too_large, CommandOutcome::TooLarge { .. }), "{too_large:?}");
    ensure!(matches!(all, CommandOutcome::Accepted { .. }), "{all:?}");
    ensure!(matches!(more, CommandOutcome::Refused { .. }), "what was refused is in the account: {more:?}");
    ensure!(subject.events().await?.len() == LIMIT + 2, "not as many events as were accepted");
    Ok(())
}

async fn overload_is_refused_without_effect(subject: &Subject) -> Checked {
    let requests = (0..LIMIT * 8).map(|index| Request::open(&format!("a-{index}")));
    let outcomes = subject.execute_all(requests).await;
    let mut accepted = 0;
    for outcome in &outcomes {
        match outcome {
            CommandOutcome::Accepted { .. } => accepted += 1,
            CommandOutcome::Unavailable { reason: UnavailableReason::Overloaded, retry_after } => {
                ensure!(!retry_after.is_zero(), "no time to come back: {outcome:?}");
            }
            other => return Err(format!("{other:?}")),
        }
    }
    ensure!(accepted >= LIMIT, "{accepted} accepted, {LIMIT} may be under way");
    ensure!(accepted < outcomes.len(), "{accepted} were accepted at the same time, {LIMIT} may be under way");
    let written = subject.events().await?.len();
    ensure!(written == accepted, "{accepted} were accepted, {written} are in the log");
    Ok(())
}
