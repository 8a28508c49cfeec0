use std::time::Duration;

use command_database::{ExpectedVersion, Outcome, StoredDecision};
use model::StreamVersion;

use super::{Checked, Subject, committed, declare, ensure, request::hash};

declare![
    a_key_replays_what_came_of_it,
    a_key_is_looked_up_before_versions_are_compared,
    a_key_with_another_request_is_refused,
    a_refusal_is_remembered_under_its_key,
    a_key_without_events_is_remembered,
    a_key_used_twice_in_a_batch_is_one_command,
    a_losers_key_stays_free,
    keys_expire_by_elapsed_time_only,
];

async fn a_key_replays_what_came_of_it(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.accept(subject.request("a").event("before")).await?;
    let first = subject.request("a").event("1").event("2").key("k", "body");
    let command_id = first.clone().build().command_id;
    let outcome = store.append_one(first).await?;
    let Outcome::Committed { first, version, head, .. } = outcome else { return Err(format!("{outcome:?}")) };
    let decision = StoredDecision::Accepted { first, events: 2, version, head };
    let again = store.append_one(subject.request("a").event("1").event("2").key("k", "body")).await?;
    let Outcome::Replayed(record) = again else { return Err(format!("sent again: {again:?}")) };
    ensure!(record.command_id == command_id, "of another command: {record:?}");
    ensure!(record.decision == decision, "{record:?} in place of {decision:?}");
    let payloads = store.payloads().await?;
    ensure!(payloads == ["before", "1", "2"], "the log holds {payloads:?}");
    Ok(())
}

async fn a_key_is_looked_up_before_versions_are_compared(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let request = || subject.request("a").expecting(ExpectedVersion::NoStream).event("1").key("k", "body");
    store.accept(request()).await?;
    let again = store.append_one(request()).await?;
    ensure!(matches!(again, Outcome::Replayed(_)), "sent again: {again:?}");
    Ok(())
}

async fn a_key_with_another_request_is_refused(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.accept(subject.request("a").event("1").key("k", "body")).await?;
    let other = store.append_one(subject.request("a").event("2").key("k", "another body")).await?;
    ensure!(other == Outcome::KeyReused, "another request: {other:?}");
    Ok(())
}

async fn a_refusal_is_remembered_under_its_key(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    for reason in [&b"not paid"[..], b""] {
        let key = format!("{reason:?}");
        let outcome = store.append_one(subject.request("a").refused(reason).key(&key, "body")).await?;
        ensure!(committed(&outcome) == Some(None), "{outcome:?}");
        let again = store.append_one(subject.request("a").event("2").key(&key, "body")).await?;
        let fits = matches!(&again, Outcome::Replayed(record)
            if matches!(&record.decision, StoredDecision::Refused(stored) if **stored == *reason));
        ensure!(fits, "sent again: {again:?}");
    }
    let payloads = store.payloads().await?;
    ensure!(payloads.is_empty(), "the log holds {payloads:?}");
    Ok(())
}

async fn a_key_without_events_is_remembered(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.append_one(subject.request("a").key("k", "body")).await?;
    let again = store.append_one(subject.request("a").event("1").key("k", "body")).await?;
    let nothing = StoredDecision::Accepted { first: None, events: 0, version: None, head: None };
    let fits = matches!(&again, Outcome::Replayed(record) if record.decision == nothing);
    ensure!(fits, "sent again: {again:?}");
    Ok(())
}

async fn a_key_used_twice_in_a_batch_is_one_command(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let request = || subject.request("a").event("1").key("k", "body");
    let outcomes = store.append([request(), request()]).await?;
    let fits = matches!(&outcomes[..], [Outcome::Committed { .. }, Outcome::Replayed(_)]);
    ensure!(fits, "{outcomes:?}");
    Ok(())
}

async fn a_losers_key_stays_free(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let request = |expected| subject.request("a").expecting(expected).event("1").key("k", "body");
    store.append_one(request(ExpectedVersion::Exactly(StreamVersion::FIRST))).await?;
    ensure!(!store.has_key(hash("k")).await?, "the key of a command that lost is taken");
    let retried = store.append_one(request(ExpectedVersion::Any)).await?;
    ensure!(committed(&retried).is_some(), "decided anew: {retried:?}");
    Ok(())
}

async fn keys_expire_by_elapsed_time_only(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let expire = async |keep| store.store.expire_idempotency(keep).await.map_err(|error| error.to_string());
    for key in ["k", "l"] {
        store.append_one(subject.request("a").event("1").key(key, "body")).await?;
    }
    // Stores may count whole seconds.
    subject.runtime.sleep(Duration::from_millis(1100)).await;
    let early = expire(Duration::from_secs(3600)).await?;
    ensure!(early == 0 && store.has_key(hash("k")).await?, "{early} keys of a second ago expired after an hour");
    let due = expire(Duration::ZERO).await?;
    ensure!(due == 2 && !store.has_key(hash("k")).await?, "{due} of two keys expired");
    Ok(())
}
