use command_database::Outcome;
use model::Epoch;
use model::Position;

use super::{Checked, Subject, declare, ensure, request::hash};

declare![
    what_was_acknowledged_is_there_when_the_process_dies,
    a_key_is_written_with_its_events,
    nothing_is_lost_by_closing_and_opening,
    keys_outlive_the_process,
    the_log_goes_on_where_it_ended,
    opening_again_is_no_new_epoch,
];

async fn what_was_acknowledged_is_there_when_the_process_dies(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.accept(subject.request("a").event("1")).await?;
    // The first one is not asked anything more: it might be reminded of what it still owes.
    let after = subject.open().await;
    let payloads = after.payloads().await?;
    ensure!(payloads == ["1"], "another process finds {payloads:?}");
    drop(store);
    Ok(())
}

async fn a_key_is_written_with_its_events(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.accept(subject.request("a").event("1").key("k", "body")).await?;
    let after = subject.open().await;
    let (has_key, has_event) = (after.has_key(hash("k")).await?, !after.log().await?.is_empty());
    ensure!(has_key == has_event, "another process finds the key: {has_key}, the event: {has_event}");
    drop(store);
    Ok(())
}

async fn nothing_is_lost_by_closing_and_opening(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    for number in 1..=3 {
        store.accept(subject.request("a").event(number.to_string())).await?;
    }
    let before = store.log().await?;
    drop(store);
    let after = subject.open().await.log().await?;
    ensure!(before == after, "{} events before, {} after, or others", before.len(), after.len());
    Ok(())
}

async fn keys_outlive_the_process(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let request = || subject.request("a").event("1").key("k", "body");
    store.accept(request()).await?;
    drop(store);
    let again = subject.open().await.append_one(request()).await?;
    ensure!(matches!(again, Outcome::Replayed(_)), "sent again: {again:?}");
    Ok(())
}

async fn the_log_goes_on_where_it_ended(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let before = store.append_one(subject.request("a").event("1").event("2")).await?;
    drop(store);
    let after = subject.open().await.append_one(subject.request("b").event("3")).await?;
    let (Outcome::Committed { head: Some(head), .. }, Outcome::Committed { first: Some(first), .. }) =
        (&before, &after)
    else {
        return Err(format!("{before:?}, then {after:?}"));
    };
    ensure!(head < first, "after {head} comes {first}");
    Ok(())
}

async fn opening_again_is_no_new_epoch(subject: &Subject<'_>) -> Checked {
    let lineage = async || subject.open().await.store.lineage().await.map_err(|error| error.to_string());
    let first = lineage().await?;
    let fits = matches!(&first.0[..], [Epoch { first: Position::FIRST, .. }]);
    ensure!(fits, "a new log has {first:?}");
    let second = lineage().await?;
    ensure!(first == second, "{first:?} became {second:?}");
    Ok(())
}
