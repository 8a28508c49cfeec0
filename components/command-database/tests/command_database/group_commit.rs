use std::sync::Arc;

use command_database::{Append, Error, EventStore, GroupCommit, GroupLimits, Outcome, ReadLimit, SqliteConfig};
use model::Position;
use prometheus_client::{encoding::text, registry::Registry};
use runtime::Runtime;

use crate::given::{ByHand, Given};

/// A group commit before an embedded log.
struct Group {
    given: Given,
    store: Arc<dyn EventStore>,
    commit: GroupCommit,
    registry: Registry,
}

impl Group {
    fn new(runtime: Runtime, limits: GroupLimits, config: SqliteConfig) -> Self {
        let given = Given::on(runtime);
        let mut registry = Registry::default();
        config.metrics.register(&mut registry);
        let metrics = config.metrics.clone();
        let store: Arc<dyn EventStore> = Arc::new(given.open_with(config));
        let commit = GroupCommit::start(&given.runtime, store.clone(), limits, metrics);
        Self { given, store, commit, registry }
    }

    fn one(&self, number: usize) -> Vec<Append> {
        vec![self.given.append(&number.to_string(), &number.to_string())]
    }

    /// Commits so far, and commands in them.
    fn commits(&self) -> (u64, u64) {
        (
            self.value("diptych_command_database_commit_commands_count "),
            self.value("diptych_command_database_commit_commands_sum "),
        )
    }

    /// Commands that no commit has taken yet.
    fn waiting(&self) -> u64 {
        self.value("diptych_command_database_waiting_commands ")
    }

    fn value(&self, name: &str) -> u64 {
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry).expect("text");
        let line = encoded.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        line.trim().parse::<f64>().expect("a number") as u64
    }
}

fn first(outcomes: &[Outcome]) -> u64 {
    match outcomes {
        [Outcome::Committed { first: Some(first), .. }] => first.get(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_arrives_during_a_commit_shares_the_next_one() {
    let group = Group::new(Runtime::tokio(), GroupLimits::default(), SqliteConfig::default());
    // Whoever holds the file's write lock keeps a commit waiting.
    let holder = rusqlite::Connection::open(group.given.path()).expect("the log");
    holder.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let alone = group.commit.submit(group.one(0));
    // Lets the first one go to the log, and be taken there.
    while group.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    let together: Vec<_> = (1..100).map(|number| group.commit.submit(group.one(number))).collect();
    holder.execute_batch("ROLLBACK").expect("released");
    assert_eq!(first(&alone.await.expect("a commit")), 1);
    for (answer, position) in together.into_iter().zip(2..) {
        assert_eq!(first(&answer.await.expect("a commit")), position, "in order of submission");
    }
    assert_eq!(group.commits(), (2, 100));
}

#[tokio::test]
async fn it_works_where_blocking_work_is_done_on_the_spot() {
    let group = Group::new(ByHand::default().runtime(), GroupLimits::default(), SqliteConfig::default());
    let together: Vec<_> = (0..100).map(|number| group.commit.submit(group.one(number))).collect();
    for (answer, position) in together.into_iter().zip(1..) {
        assert_eq!(first(&answer.await.expect("a commit")), position);
    }
    assert_eq!(group.commits(), (1, 100));
}

#[tokio::test]
async fn a_commit_keeps_to_its_limits_and_a_submission_stays_whole() {
    for (limits, commits) in [
        (GroupLimits { commands_max: 10, ..GroupLimits::default() }, 3),
        (GroupLimits { events_max: 5, ..GroupLimits::default() }, 6),
        (GroupLimits { bytes_max: 7, ..GroupLimits::default() }, 4),
        (GroupLimits { commands_max: 1, ..GroupLimits::default() }, 12),
    ] {
        let group = Group::new(ByHand::default().runtime(), limits, SqliteConfig::default());
        // Of two commands, two events, two bytes each.
        let two = |number: usize| [group.one(number % 10), group.one(number % 10)].concat();
        let together: Vec<_> = (0..12).map(|number| group.commit.submit(two(number))).collect();
        for answer in together {
            assert_eq!(answer.await.expect("a commit").len(), 2, "{limits:?}");
        }
        assert_eq!(group.commits(), (commits, 24), "{limits:?}");
    }
}

#[tokio::test]
async fn beyond_the_limit_of_what_may_wait_it_refuses_and_recovers() {
    let limits = GroupLimits { waiting_commands_max: 10, ..GroupLimits::default() };
    let group = Group::new(ByHand::default().runtime(), limits, SqliteConfig::default());
    let waiting: Vec<_> = (0..10).map(|number| group.commit.submit(group.one(number))).collect();
    let refused = group.commit.submit(group.one(10)).await.expect_err("a refusal");
    assert!(matches!(*refused, Error::Overloaded { commands: 10, commands_max: 10 }), "{refused:?}");
    for answer in waiting {
        answer.await.expect("a commit");
    }
    group.commit.submit(group.one(11)).await.expect("there is room again");
    assert_eq!(group.store.read(None, ReadLimit::default()).await.expect("a read").len(), 11);
}

#[tokio::test]
async fn who_no_longer_waits_has_appended_all_the_same() {
    let group = Group::new(ByHand::default().runtime(), GroupLimits::default(), SqliteConfig::default());
    drop(group.commit.submit(group.one(0)));
    group.commit.submit(group.one(1)).await.expect("a commit");
    assert_eq!(group.store.read(None, ReadLimit::default()).await.expect("a read").len(), 2);
}

#[tokio::test]
async fn a_new_head_wakes_whoever_watches() {
    let group = Group::new(Runtime::tokio(), GroupLimits::default(), SqliteConfig::default());
    let mut head = group.commit.head_changed();
    assert_eq!(*head.borrow_and_update(), None);
    group.commit.submit(group.one(0)).await.expect("a commit");
    head.changed().await.expect("somebody commits");
    assert_eq!(*head.borrow_and_update(), Some(Position::FIRST));
    let nothing = testkit::conformance::event_store::Request::new(&group.given.runtime, "0").build();
    group.commit.submit(vec![nothing]).await.expect("a commit");
    assert!(!head.has_changed().expect("somebody commits"), "nothing was written");
}

#[tokio::test]
async fn an_error_of_the_store_reaches_everyone_in_the_batch_and_nobody_after_it() {
    let config = SqliteConfig { append_bytes_max: 10, ..SqliteConfig::default() };
    let group =
        Group::new(ByHand::default().runtime(), GroupLimits { commands_max: 2, ..GroupLimits::default() }, config);
    let large = || vec![group.given.append("a", "six by")];
    let answers: Vec<_> =
        [large(), large(), group.one(1)].into_iter().map(|appends| group.commit.submit(appends)).collect();
    let mut accepted = Vec::new();
    for answer in answers {
        accepted.push(answer.await.is_ok());
    }
    assert_eq!(accepted, [false, false, true]);
}
