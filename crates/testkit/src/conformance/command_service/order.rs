//! One aggregate's commands are decided one after the other, different ones' are not in each other's way.

use command_service::CommandOutcome;

use super::{Checked, Request, Subject, ensure, promise_all};

promise_all! {
    commands_of_one_aggregate_run_in_the_order_they_were_sent,
    every_decision_sees_all_decisions_before_it,
    a_mistake_in_the_domain_fails_its_own_command_only,
}

async fn commands_of_one_aggregate_run_in_the_order_they_were_sent(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    let outcomes = subject.execute_all((1..=50).map(|amount| Request::deposit("a", amount))).await;
    for outcome in &outcomes {
        ensure!(matches!(outcome, CommandOutcome::Accepted { .. }), "{outcome:?}");
    }
    let events = subject.events().await?;
    let found: Vec<u64> = events.iter().skip(1).filter_map(amount).collect();
    ensure!(found == (1..=50).collect::<Vec<_>>(), "sent 1 to 50, found {found:?}");
    let dense = (1..).zip(&events).all(|(version, event)| event.version.get() == version);
    ensure!(dense, "versions are not dense");
    Ok(())
}

fn amount(event: &model::StoredEvent) -> Option<u64> {
    let payload: serde_json::Value = serde_json::from_slice(&event.payload).ok()?;
    payload.get("amount")?.as_u64()
}

async fn every_decision_sees_all_decisions_before_it(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    subject.execute(Request::deposit("a", 100)).await;
    let outcomes = subject.execute_all((0..40).map(|_| Request::withdraw("a", 10))).await;
    let accepted = outcomes.iter().filter(|outcome| matches!(outcome, CommandOutcome::Accepted { .. })).count();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, CommandOutcome::Refused { .. })).count();
    ensure!((accepted, refused) == (10, 30), "10 times 10 fit into 100: {accepted} accepted, {refused} refused");
    let withdrawn =
        subject.events().await?.iter().filter(|event| &*event.event_type.name == "account.withdrawn").count();
    ensure!(withdrawn == 10, "{withdrawn} withdrawals are in the log");
    Ok(())
}

async fn a_mistake_in_the_domain_fails_its_own_command_only(subject: &Subject) -> Checked {
    subject.execute_all([Request::open("a"), Request::open("b")]).await;
    let requests = [
        Request::deposit("a", 1),
        Request::deposit("b", 1),
        Request::explode("a"),
        Request::deposit("a", 2),
        Request::deposit("b", 2),
    ];
    let outcomes = subject.execute_all(requests).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            CommandOutcome::Internal if index == 2 => {}
            CommandOutcome::Accepted { .. } if index != 2 => {}
            other => return Err(format!("command {index} came to {other:?}")),
        }
    }
    let outcome = subject.execute(Request::withdraw("a", 3)).await;
    ensure!(matches!(outcome, CommandOutcome::Accepted { .. }), "afterwards {outcome:?}");
    ensure!(subject.events().await?.len() == 7, "the mistake wrote something");
    Ok(())
}
