//! A client's demands on the stream.

use command_service::{CommandOutcome, Precondition};
use model::StreamVersion;

use super::{Checked, Request, Subject, ensure, promise_all};

promise_all! {
    a_precondition_is_compared_with_the_streams_version,
    of_many_with_one_version_in_mind_one_wins,
}

async fn a_precondition_is_compared_with_the_streams_version(subject: &Subject) -> Checked {
    use Precondition::{Absent, Exists, Never, None, Version};
    let version = |number: u64| StreamVersion::FIRST.plus(number - 1);
    for (events, demand, met) in [
        (0, None, true),
        (0, Absent, true),
        (0, Exists, false),
        (0, Version(version(1)), false),
        (2, Absent, false),
        (2, Exists, true),
        (2, Version(version(1)), false),
        (2, Version(version(2)), true),
        (2, Version(version(3)), false),
        (2, Never, false),
    ] {
        let id = format!("{events}-{demand:?}");
        let request = if events == 0 { Request::open(&id) } else { Request::deposit(&id, 1) };
        if events > 0 {
            subject.execute_all([Request::open(&id), Request::deposit(&id, 1)]).await;
        }
        let current = StreamVersion::new(events);
        let outcome = subject.execute(request.demanding(demand)).await;
        let as_expected = match &outcome {
            CommandOutcome::Accepted { .. } => met,
            CommandOutcome::PreconditionFailed { current: told } => !met && *told == current,
            _ => false,
        };
        ensure!(as_expected, "{demand:?} on a stream of {events} events: {outcome:?}");
    }
    Ok(())
}

async fn of_many_with_one_version_in_mind_one_wins(subject: &Subject) -> Checked {
    subject.execute(Request::open("a")).await;
    let demand = Precondition::Version(StreamVersion::FIRST);
    let outcomes = subject.execute_all((1..=20).map(|amount| Request::deposit("a", amount).demanding(demand))).await;
    let won = outcomes.iter().filter(|outcome| matches!(outcome, CommandOutcome::Accepted { .. })).count();
    let lost = outcomes.iter().filter(|outcome| {
        matches!(outcome, CommandOutcome::PreconditionFailed { current } if *current == StreamVersion::new(2))
    });
    ensure!((won, lost.count()) == (1, 19), "{outcomes:?}");
    ensure!(subject.events().await?.len() == 2, "a loser wrote something");
    Ok(())
}
