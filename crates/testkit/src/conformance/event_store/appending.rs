use command_database::{ExpectedVersion, Outcome, verify_link};
use model::{EventId, Hash, Metadata, Position, Principal, StreamVersion, TraceContext};

use super::{Checked, Subject, committed, declare, ensure, payload, request::stream};

declare![
    positions_are_dense_from_one_in_commit_order,
    a_loser_leaves_no_gap,
    versions_are_dense_in_each_stream,
    an_append_checks_the_expected_version,
    a_later_command_of_a_batch_sees_an_earlier_one,
    what_follows_a_loser_of_its_stream_loses,
    a_loser_does_not_disturb_its_neighbours,
    a_loser_writes_nothing,
    an_outcome_says_where_its_events_are,
    an_event_comes_back_as_it_was_appended,
    the_hashes_form_a_chain,
    recorded_at_does_not_go_back,
    streams_of_two_tenants_are_apart,
    a_command_without_events_changes_no_stream,
];

async fn positions_are_dense_from_one_in_commit_order(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    for number in 0..3 {
        let two = subject.request("a").event(format!("{number}a")).event(format!("{number}b"));
        store.append([two, subject.request("b").event(format!("{number}c"))]).await?;
    }
    let log = store.log().await?;
    let positions: Vec<_> = log.iter().map(|event| event.position.get()).collect();
    ensure!(positions == (1..=9).collect::<Vec<_>>(), "positions {positions:?}");
    let payloads: Vec<_> = log.iter().map(payload).collect();
    let in_order = ["0a", "0b", "0c", "1a", "1b", "1c", "2a", "2b", "2c"];
    ensure!(payloads == in_order, "in the order {payloads:?}");
    Ok(())
}

async fn a_loser_leaves_no_gap(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.accept(subject.request("a").event("first")).await?;
    let loser = subject.request("a").expecting(ExpectedVersion::NoStream).event("lost");
    store.append_one(loser).await?;
    store.accept(subject.request("b").event("second")).await?;
    let log = store.log().await?;
    let [first, second] = &log[..] else { return Err(format!("{} events", log.len())) };
    ensure!(first.position.next() == second.position, "{} is followed by {}", first.position, second.position);
    Ok(())
}

async fn versions_are_dense_in_each_stream(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    for number in 1..=3 {
        let two = subject.request("a").event("1").event("2");
        let outcomes = store.append([two, subject.request("b").event("1")]).await?;
        for (outcome, version) in outcomes.iter().zip([2 * number, number]) {
            let fits = matches!(outcome, Outcome::Committed { version: Some(after), .. } if after.get() == version);
            ensure!(fits, "{outcome:?} after version {version}");
        }
    }
    for (id, last) in [("a", 6), ("b", 3)] {
        let versions: Vec<_> = store.stream(stream(id)).await?.iter().map(|event| event.version.get()).collect();
        ensure!(versions == (1..=last).collect::<Vec<_>>(), "stream {id} has versions {versions:?}");
    }
    Ok(())
}

async fn an_append_checks_the_expected_version(subject: &Subject<'_>) -> Checked {
    use ExpectedVersion::{Any, Exactly, NoStream};
    let exactly = |version: u64| Exactly(StreamVersion::FIRST.plus(version - 1));
    let store = subject.open().await;
    for (case, (events_in_stream, expected, is_accepted)) in [
        (0, NoStream, true),
        (0, Any, true),
        (0, exactly(1), false),
        (2, NoStream, false),
        (2, exactly(1), false),
        (2, exactly(2), true),
        (2, exactly(3), false),
        (2, Any, true),
    ]
    .into_iter()
    .enumerate()
    {
        let id = case.to_string();
        for _ in 0..events_in_stream {
            store.accept(subject.request(&id).event("before")).await?;
        }
        let outcome = store.append_one(subject.request(&id).expecting(expected).event("new")).await?;
        let seen = format!("{events_in_stream} events, expected {expected:?}: {outcome:?}");
        let fits = match outcome {
            Outcome::Committed { .. } => is_accepted,
            Outcome::VersionConflict { current } => !is_accepted && StreamVersion::count(current) == events_in_stream,
            _ => false,
        };
        ensure!(fits, "{seen}");
    }
    Ok(())
}

async fn a_later_command_of_a_batch_sees_an_earlier_one(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let first = || subject.request("a").expecting(ExpectedVersion::NoStream).event("first");
    let next = subject.request("a").expecting(ExpectedVersion::Exactly(StreamVersion::FIRST)).event("second");
    let outcomes = store.append([first(), next, first()]).await?;
    let accepted: Vec<_> = outcomes.iter().map(|outcome| committed(outcome).is_some()).collect();
    ensure!(accepted == [true, true, false], "{outcomes:?}");
    Ok(())
}

async fn what_follows_a_loser_of_its_stream_loses(subject: &Subject<'_>) -> Checked {
    use ExpectedVersion::{Any, Exactly, NoStream};
    let store = subject.open().await;
    let others = || subject.request("a").event("others").key("k", "body");
    store.accept(others()).await?;
    let decided_on = |expected, event: &'static str| subject.request("a").expecting(expected).event(event);
    let version = Exactly(StreamVersion::FIRST);
    // Version 1 was to be the first one's, on which the second one was decided. It is another event.
    let batch = [
        decided_on(NoStream, "lost"),
        decided_on(version, "lost with it"),
        subject.request("a").expecting(version),
        subject.request("b").expecting(NoStream).event("apart"),
        decided_on(Any, "whatever there is"),
    ];
    let outcomes = store.append(batch).await?;
    let accepted: Vec<_> = outcomes.iter().map(|outcome| committed(outcome).is_some()).collect();
    ensure!(accepted == [false, false, false, true, true], "{outcomes:?}");
    let current = StreamVersion::new(1);
    ensure!(outcomes[1] == Outcome::VersionConflict { current }, "{outcomes:?}");
    // One that was sent before writes nothing either.
    let version = Exactly(StreamVersion::FIRST.next());
    let outcomes = store.append([others(), decided_on(version, "lost with it")]).await?;
    ensure!(matches!(outcomes[..], [Outcome::Replayed(_), Outcome::VersionConflict { .. }]), "{outcomes:?}");
    // In the next batch all is as before.
    store.accept(decided_on(version, "next")).await?;
    let payloads = store.payloads().await?;
    ensure!(payloads == ["others", "apart", "whatever there is", "next"], "the log holds {payloads:?}");
    Ok(())
}

async fn a_loser_does_not_disturb_its_neighbours(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let loser = subject.request("b").expecting(ExpectedVersion::Exactly(StreamVersion::FIRST)).event("lost");
    let batch = [subject.request("a").event("before"), loser, subject.request("c").event("after")];
    let outcomes = store.append(batch).await?;
    let accepted: Vec<_> = outcomes.iter().map(|outcome| committed(outcome).is_some()).collect();
    ensure!(accepted == [true, false, true], "{outcomes:?}");
    let payloads = store.payloads().await?;
    ensure!(payloads == ["before", "after"], "the log holds {payloads:?}");
    Ok(())
}

async fn a_loser_writes_nothing(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.accept(subject.request("a").event("first")).await?;
    let loser = subject.request("a").expecting(ExpectedVersion::NoStream).event("lost").event("too");
    store.append_one(loser).await?;
    let payloads = store.payloads().await?;
    ensure!(payloads == ["first"], "the log holds {payloads:?}");
    Ok(())
}

async fn an_outcome_says_where_its_events_are(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let batch = [subject.request("a").event("1").event("2"), subject.request("b").event("3")];
    let outcomes = store.append(batch).await?;
    let log = store.log().await?;
    for (outcome, (first, last)) in outcomes.iter().zip([(0, 1), (2, 2)]) {
        let (Some(first), Some(last)) = (log.get(first), log.get(last)) else {
            return Err(format!("{} events", log.len()));
        };
        let expected = Outcome::Committed {
            first: Some(first.position),
            version: Some(last.version),
            head: Some(last.position),
            epoch: first.epoch,
        };
        ensure!(*outcome == expected, "{outcome:?} in place of {expected:?}");
    }
    Ok(())
}

async fn an_event_comes_back_as_it_was_appended(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let plain = subject.request("a").event("{}").event("\u{0}\u{ff}").build();
    let mut rich = subject.request("ä/b c").event("{\"much\":true}").build();
    rich.metadata = Metadata {
        principal: Principal::new("someone"),
        time: "2024-02-29T12:34:56.123456Z".parse().map_err(|error| format!("{error}"))?,
        correlation: subject.runtime.uuid(),
        causation: subject.runtime.uuid(),
        trace: TraceContext { trace_id: 7 << 100 | 1, parent_id: u64::MAX, sampled: true },
        tracestate: Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".into()),
    };
    let mut sampled = subject.request("a").event("").build();
    sampled.metadata.trace.sampled = true;
    // A state alone, beside the trace that takes no space.
    let mut stateful = subject.request("a").event("").build();
    stateful.metadata.tracestate = Some("rojo=1".into());
    let batch = vec![plain, rich, sampled, stateful];
    store.store.append(batch.clone()).await.map_err(|error| error.to_string())?;
    let mut log = store.log().await?.into_iter();
    for append in &batch {
        let command_database::Decision::Accepted(events) = &append.decision else { continue };
        for (index, event) in (0..).zip(events) {
            let Some(stored) = log.next() else { return Err("an event is missing".to_owned()) };
            let fits = stored.stream == append.stream
                && stored.event_id == EventId::derived(append.command_id, index)
                && stored.event_type == event.event_type
                && stored.payload == event.payload
                && stored.command_id == append.command_id
                && stored.command_events as usize == events.len()
                && stored.metadata == append.metadata;
            ensure!(fits, "{event:?} of {append:?} is stored as {stored:?}");
        }
    }
    Ok(())
}

async fn the_hashes_form_a_chain(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    for number in 0..3 {
        let batch = [subject.request("a").event("1").event(number.to_string()), subject.request("b").event("2")];
        store.append(batch).await?;
    }
    let mut previous = Hash::default();
    for event in store.log().await? {
        ensure!(verify_link(&previous, &event), "position {} does not follow its predecessor", event.position);
        previous = event.hash;
    }
    Ok(())
}

async fn recorded_at_does_not_go_back(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    for _ in 0..5 {
        store.append([subject.request("a").event("1"), subject.request("b").event("2")]).await?;
    }
    let log = store.log().await?;
    let back = log.windows(2).find(|pair| pair[1].recorded_at < pair[0].recorded_at);
    ensure!(back.is_none(), "{back:?}");
    let last = store.store.last_recorded_at().await.map_err(|error| error.to_string())?;
    ensure!(last == log.last().map(|event| event.recorded_at), "the last one is said to be at {last:?}");
    Ok(())
}

async fn streams_of_two_tenants_are_apart(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.accept(subject.request("a").event("ours")).await?;
    let theirs = || subject.request("a").of_tenant("other");
    let outcome = store.append_one(theirs().expecting(ExpectedVersion::NoStream).event("theirs")).await?;
    ensure!(committed(&outcome).is_some(), "another tenant's first event: {outcome:?}");
    for (stream, expected) in [(stream("a"), "ours"), (theirs().build().stream, "theirs")] {
        let payloads: Vec<_> = store.stream(stream).await?.iter().map(payload).collect();
        ensure!(payloads == [expected], "{payloads:?} in place of {expected}");
    }
    Ok(())
}

async fn a_command_without_events_changes_no_stream(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let outcome = store.append_one(subject.request("a")).await?;
    let nothing = matches!(outcome, Outcome::Committed { first: None, version: None, head: None, .. });
    ensure!(nothing, "without a stream: {outcome:?}");
    let version = store.accept(subject.request("a").event("1")).await?;
    let head = store.log().await?.last().map(|event| event.position);
    let outcome = store.append_one(subject.request("a").expecting(ExpectedVersion::Exactly(version))).await?;
    let unmoved = matches!(outcome, Outcome::Committed { first: None, version: Some(after), head: at, .. }
        if after == version && at == head);
    ensure!(unmoved, "with a stream at {version}, head {}: {outcome:?}", Position::count(head));
    Ok(())
}
