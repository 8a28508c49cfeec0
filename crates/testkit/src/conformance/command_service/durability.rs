//! What was acknowledged is in the log.

use command_database::ReadLimit;
use command_service::CommandOutcome;
use model::{Position, StreamVersion, Tenant, Verdict};

use super::{Checked, Request, Subject, ensure, promise_all};

promise_all! {
    an_accepted_command_is_in_the_log_where_its_answer_says,
    an_event_says_who_asked_for_it_and_why,
    a_command_without_events_is_accepted_and_writes_none,
    a_commands_events_are_contiguous,
    a_command_runs_to_its_end_when_nobody_waits_for_it,
    tenants_have_streams_of_their_own,
}

async fn an_accepted_command_is_in_the_log_where_its_answer_says(subject: &Subject) -> Checked {
    let lineage = subject.log.lineage().await.map_err(|error| error.to_string())?;
    for (request, created_now) in
        [(Request::open("a"), true), (Request::deposit("a", 1), false), (Request::deposit_parts("a", 1, 3), false)]
    {
        let outcome = subject.execute(request).await;
        let CommandOutcome::Accepted { command_id, version, created, events, token, trace_id, replayed } = &outcome
        else {
            return Err(format!("{outcome:?}"));
        };
        ensure!(*created == created_now && !replayed && *trace_id == Some(7), "{outcome:?}");
        let first = events.first().ok_or("an answer without events")?.position;
        let limit = ReadLimit { events_max: events.len(), bytes_max: usize::MAX };
        let stored =
            subject.log.read(Position::new(first.get() - 1), limit).await.map_err(|error| error.to_string())?;
        ensure!(stored.len() == events.len(), "{} events in the log, answered {outcome:?}", stored.len());
        for (told, stored) in events.iter().zip(&stored) {
            let found = (stored.event_id, &stored.event_type, stored.version, stored.position, stored.command_id);
            let told = (told.id, &told.event_type, told.version, told.position, *command_id);
            ensure!(told == found, "told {told:?}, found {found:?}");
        }
        let last = stored.last().ok_or("an answer without events")?;
        ensure!(*version == Some(last.version), "version {version:?}, the last event's is {}", last.version);
        let judged = token.map(|token| lineage.judge(&token));
        ensure!(judged == Some(Verdict::Reach(last.position)), "the token names {judged:?}, not {}", last.position);
    }
    Ok(())
}

async fn an_event_says_who_asked_for_it_and_why(subject: &Subject) -> Checked {
    let (correlation, causation) = (uuid::Uuid::from_u128(3), uuid::Uuid::from_u128(4));
    subject.execute(Request::open("a")).await;
    let linked = Request::deposit("a", 1).with(|request| {
        (request.correlation, request.causation) = (Some(correlation), Some(causation));
        (request.trace.trace_id, request.tracestate) = (0, None);
    });
    subject.execute(linked).await;
    let events = subject.events().await?;
    let [plain, linked] = events.as_slice() else {
        return Err(format!("{} events for two commands", events.len()));
    };
    ensure!(plain.metadata.principal.as_str() == "tester", "{plain:?}");
    ensure!(plain.metadata.trace.trace_id == 7, "another trace: {plain:?}");
    let states = (plain.metadata.tracestate.as_deref(), linked.metadata.tracestate.as_deref());
    ensure!(states == (Some("rojo=1"), None), "other tracestates: {states:?}");
    let own = (plain.command_id.0, plain.command_id.0);
    ensure!((plain.metadata.correlation, plain.metadata.causation) == own, "no default: {plain:?}");
    ensure!((linked.metadata.correlation, linked.metadata.causation) == (correlation, causation), "{linked:?}");
    ensure!(linked.metadata.trace.trace_id != 0, "a request without a trace must begin one: {linked:?}");
    Ok(())
}

async fn a_command_without_events_is_accepted_and_writes_none(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    subject.execute(Request::open("b")).await;
    let outcome = subject.execute(Request::deposit("a", 0)).await;
    let CommandOutcome::Accepted { version, created, events, token, .. } = &outcome else {
        return Err(format!("{outcome:?}"));
    };
    ensure!(*version == Some(StreamVersion::FIRST) && !created && events.is_empty(), "{outcome:?}");
    // What the decision saw is in this prefix: its own stream's event at 1, and whatever else came before it.
    ensure!(token.is_some_and(|token| token.position == Position::FIRST.next()), "{outcome:?}");
    ensure!(subject.events().await?.len() == 2, "something was written");
    Ok(())
}

async fn a_commands_events_are_contiguous(subject: &Subject) -> Checked {
    let ids: Vec<String> = (0..8).map(|index| format!("a-{index}")).collect();
    subject.execute_all(ids.iter().map(|id| Request::open(id))).await;
    let parts = (0..4).flat_map(|_| ids.iter().map(|id| Request::deposit_parts(id, 1, 5)));
    for outcome in subject.execute_all(parts).await {
        ensure!(matches!(outcome, CommandOutcome::Accepted { .. }), "{outcome:?}");
    }
    let events = subject.events().await?;
    let (_, deposits) = events.split_at(8);
    for command in deposits.chunks(5) {
        let same = command.iter().all(|event| event.command_id == command[0].command_id && event.command_events == 5);
        ensure!(same && command.len() == 5, "another command's event in between: {command:?}");
    }
    Ok(())
}

async fn a_command_runs_to_its_end_when_nobody_waits_for_it(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    for amount in 1..=10 {
        drop(subject.service.execute(Request::deposit("a", amount).build()));
    }
    for _ in 0..200 {
        if subject.events().await?.len() == 11 {
            return Ok(());
        }
        subject.runtime.sleep(std::time::Duration::from_millis(5)).await;
    }
    Err(format!("{} of 10 commands were executed", subject.events().await?.len().saturating_sub(1)))
}

async fn tenants_have_streams_of_their_own(subject: &Subject) -> Checked {
    let other = || Request::open("a").with(|request| request.tenant = Tenant::new("other"));
    let outcomes = subject.execute_all([Request::open("a"), other()]).await;
    for outcome in &outcomes {
        ensure!(matches!(outcome, CommandOutcome::Accepted { created: true, .. }), "{outcome:?}");
    }
    let outcome = subject.execute(other()).await;
    ensure!(matches!(outcome, CommandOutcome::Refused { .. }), "{outcome:?}");
    Ok(())
}
