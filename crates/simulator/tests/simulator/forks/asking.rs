//! Somebody who asks with tokens and without, and what may be believed of the answers.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use command_database::EventStore;
use model::{ConsistencyToken, Lineage, Tenant, TraceContext, Verdict};
use parking_lot::Mutex;
use query_service::{
    Answer, Body, Consistency, Freshness, Handling, ListQuery, PointQuery, Queries, QueryOutcome, QueryService,
};
use runtime::{Runtime, Shutdown};
use testkit::ReplaceableStore;

use super::{
    Tally,
    history::{Claim, Histories},
    world::World,
};
use crate::domain::{LEDGER, SLIPS};

/// For so long after the log changed, or its handler started, nobody can know of it: one look at the head, and some commits.
pub(super) const UNKNOWN_MAX: Duration = Duration::from_millis(300);
const RECENT_MAX: usize = 50;

/// What a reader needs.
pub(super) struct Questions {
    pub(super) runtime: Runtime,
    pub(super) log: Arc<ReplaceableStore>,
    /// The query service of the process's present life; nothing while it is down.
    pub(super) service: Arc<Mutex<Option<Arc<Queries>>>>,
    /// When the log last changed, or the process last started.
    pub(super) changed_at: Arc<Mutex<Duration>>,
}

/// A question and its outcome.
pub(super) struct Asked {
    token: Option<ConsistencyToken>,
    outcome: QueryOutcome,
    /// The log's lineage by then.
    lineage: Lineage,
    /// Whether the change before was long enough ago to be known.
    settled: bool,
}

/// Asks until it is told to end: without a token, or with one of a command that it heard of a while ago.
pub(super) async fn ask(questions: Questions, ends: Shutdown) -> Vec<Asked> {
    let Questions { runtime, log, service, changed_at } = questions;
    let mut recent = VecDeque::new();
    let mut asked = Vec::new();
    while !ends.is_requested() {
        runtime.sleep(Duration::from_millis(runtime.random_u64() % 15)).await;
        let head = log.head().await.expect("the log can be read");
        recent.extend(head.position.map(|position| ConsistencyToken { epoch: head.epoch, position }));
        if recent.len() > RECENT_MAX {
            recent.pop_front();
        }
        let pick = usize::try_from(runtime.random_u64() % 100).expect("small");
        let token = recent.get(pick).copied();
        let wait = Duration::from_millis(runtime.random_u64() % 20);
        let Some(present) = service.lock().clone() else { continue };
        let read_model = if runtime.random_u64().is_multiple_of(2) { LEDGER } else { SLIPS };
        // Of a process that has crashed there is no answer.
        let answer = runtime.timeout(Duration::from_millis(100), present.list(query(read_model, token, wait)));
        let Ok(outcome) = answer.await else { continue };
        let lineage = log.lineage().await.expect("the log can be read");
        // Last: it may have changed meanwhile.
        let settled = runtime.now().saturating_sub(*changed_at.lock()) > UNKNOWN_MAX;
        asked.push(Asked { token, outcome, lineage, settled });
    }
    asked
}

fn query(read_model: &str, token: Option<ConsistencyToken>, wait: Duration) -> ListQuery {
    ListQuery {
        tenant: Tenant::default(),
        read_model: read_model.to_owned(),
        parameters: vec![("page_size".to_owned(), "500".to_owned())],
        consistency: Consistency { token, handling: Handling::Strict, wait },
        trace: TraceContext::default(),
        tracestate: None,
    }
}

/// Each answer is one generation's fold of the prefix that it names; one that contains a token has its prefix; and none that
/// calls itself fresh is of what the log no longer has, once that can be known.
pub(super) fn expect_honest(asked: &[Asked], histories: &Histories, tally: &mut Tally) {
    let mut claims = Vec::new();
    for Asked { token, outcome, lineage, settled } in asked {
        match outcome {
            QueryOutcome::Answered(answer) => {
                claims.extend(claim(answer, *token, lineage, *settled, histories));
                let count = if answer.freshness == Freshness::Fresh { &mut tally.fresh } else { &mut tally.stale };
                *count += 1;
            }
            QueryOutcome::EpochChanged => {
                let token = token.expect("only a token can be refused");
                assert!(histories.lives.iter().any(|life| !life.has(token)), "{token:?} was never gone");
                tally.refused += 1;
            }
            QueryOutcome::NotYetConsistent { .. } => tally.not_yet += 1,
            // Down, or nothing was made yet.
            QueryOutcome::Unavailable { .. } | QueryOutcome::Internal => {}
            other => panic!("{other:?}"),
        }
    }
    histories.expect_true(&claims);
}

/// What an answer says of its rows: nothing, if it is stale and names no prefix.
fn claim(
    answer: &Answer,
    asked: Option<ConsistencyToken>,
    lineage: &Lineage,
    settled: bool,
    histories: &Histories,
) -> Option<Claim> {
    let is_fresh = answer.freshness == Freshness::Fresh;
    if let Some(asked) = asked {
        let named = answer.token.expect("what contains a token is a prefix of the log");
        assert!(histories.is_prefix(asked, named), "asked for {asked:?}, answered with {named:?}");
    }
    if let Some(named) = answer.token.filter(|_| is_fresh && settled) {
        assert_eq!(lineage.judge(&named), Verdict::Reach(named.position), "fresh, and gone");
    }
    let Body::Page { rows, .. } = &answer.body else { panic!("a list is answered by a page") };
    let rows = rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect();
    let claim = Claim { generation: answer.generation, prefix: answer.token, rows };
    (answer.token.is_some() || is_fresh).then_some(claim)
}

/// In the end every token of a command that the log still has is reached, and every other one is refused, if the rows ever
/// heard of its epoch. How many of each.
pub(super) async fn expect_judged(world: &World, tokens: &[ConsistencyToken]) -> (usize, usize) {
    let lineage = world.log.lineage().await.expect("the log can be read");
    let known = world.known_epochs();
    let (mut kept, mut refused) = (0, 0);
    for token in tokens {
        let ListQuery { tenant, read_model, consistency, trace, .. } = query(LEDGER, Some(*token), Duration::ZERO);
        let point = PointQuery { tenant, read_model, key: "log/all".to_owned(), consistency, trace, tracestate: None };
        let outcome = world.service().point(point).await;
        let is_kept = lineage.judge(token) == Verdict::Reach(token.position);
        match outcome {
            QueryOutcome::Answered(Answer { freshness: Freshness::Fresh, .. }) if is_kept => kept += 1,
            QueryOutcome::EpochChanged if !is_kept => refused += 1,
            QueryOutcome::NotYetConsistent { .. } if !is_kept && !known.contains(&token.epoch) => {}
            other => panic!("{token:?}, of a log that {} it: {other:?}", if is_kept { "has" } else { "lost" }),
        }
    }
    (kept, refused)
}
