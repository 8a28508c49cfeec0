//! A log and rows in a directory of their own, written by the real boxes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use command_database::{
    Append, Decision, EventStore, ExpectedVersion, Idempotency, Outcome, ReadLimit, Snapshot, SqliteConfig,
    SqliteEventStore,
};
use jiff::Timestamp;
use model::{
    CommandId, EventType, Folder, Hash, Metadata, NewEvent, Position, Principal, RowKey, StreamId, StreamVersion,
    Tenant, TraceContext,
};
use query_database::{Commit, HeadSeen, Owned, RowWriter, SqliteQueryDatabase};
use runtime::Runtime;
use tempfile::TempDir;
use uuid::Uuid;
use verify::Report;

use crate::domain::registry;

pub(crate) struct System {
    _directory: TempDir,
    pub(crate) log: PathBuf,
    pub(crate) rows: PathBuf,
}

pub(crate) async fn system() -> System {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, rows) = (directory.path().join("log.sqlite3"), directory.path().join("rows.sqlite3"));
    let system = System { _directory: directory, log, rows };
    fill(&mut system.start().await).await;
    system
}

/// Eight commands on three accounts: ten events, three of them of one command. All of them folded.
pub(crate) async fn fill(running: &mut Running) {
    let opened = |owner: &str| vec![("account.opened", format!(r#"{{"owner":"{owner}"}}"#))];
    for (id, owner) in [("a", "Ada"), ("b", "Ben"), ("c", "Cleo")] {
        running.append(id, opened(owner)).await;
    }
    for (id, amount) in [("a", 5), ("b", 7), ("a", 11)] {
        running.append(id, deposits(&[amount])).await;
    }
    running.append("c", deposits(&[1, 2, 3])).await;
    running.append("b", deposits(&[4])).await;
    running.snapshot("a", 3, r#"{"balance":16}"#).await;
    running.fold().await;
}

pub(crate) fn deposits(amounts: &[i64]) -> Vec<(&'static str, String)> {
    amounts.iter().map(|amount| ("account.deposited", format!(r#"{{"amount":{amount}}}"#))).collect()
}

pub(crate) struct Running {
    pub(crate) store: Arc<dyn EventStore>,
    database: Arc<dyn RowWriter>,
    owned: Owned,
    folder: Box<dyn Folder>,
    commands: u128,
}

impl System {
    pub(crate) async fn start(&self) -> Running {
        let runtime = Runtime::tokio();
        let store = SqliteEventStore::open(&self.log, &runtime, SqliteConfig::default()).expect("the log opens");
        let database = SqliteQueryDatabase::open(&self.rows, &runtime, &query_database::SqliteConfig::default());
        Running::over(Arc::new(store), Arc::new(database.expect("the rows open"))).await
    }

    pub(crate) fn verify(&self) -> Report {
        verify::run(&self.log, &self.rows, &registry()).expect("it can be verified")
    }

    /// Verifies, and gives the kinds of what was found.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let report = self.verify();
        assert_eq!(report.holds(), report.violations.is_empty());
        report.violations.iter().map(verify::Violation::kind).collect()
    }
}

/// Does what no program of ours does.
pub(crate) fn tamper(path: &Path, statements: &str) {
    let connection = rusqlite::Connection::open(path).expect("the file opens");
    let triggers = "DROP TRIGGER IF EXISTS events_do_not_change; DROP TRIGGER IF EXISTS events_stay;";
    connection.execute_batch(&format!("{triggers} {statements}")).expect("the statements run");
}

pub(crate) fn stream(id: &str) -> StreamId {
    StreamId { tenant: Tenant::default(), aggregate: "account".into(), id: id.into() }
}

impl Running {
    pub(crate) async fn over(store: Arc<dyn EventStore>, database: Arc<dyn RowWriter>) -> Self {
        let registry = registry();
        let projection = registry.find_projection("balance").expect("declared").clone();
        let owned = database.take(Arc::new(projection.read_model().clone())).await.expect("taken");
        let commands = u128::from(Position::count(store.head().await.expect("a head").position)) << 70;
        Self { store, database, owned, folder: projection.folder(1 << 20), commands }
    }

    pub(crate) async fn append(&mut self, id: &str, events: Vec<(&'static str, String)>) {
        self.append_many(&[id.to_owned()], &events).await;
    }

    /// The same events for each of `ids`, in one commit.
    pub(crate) async fn append_many(&mut self, ids: &[String], events: &[(&'static str, String)]) {
        let batch = ids.iter().map(|id| self.command(id, events)).collect();
        let outcomes = self.store.append(batch).await.expect("appended");
        let committed = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
        assert!(outcomes.iter().all(committed), "{outcomes:?}");
    }

    fn command(&mut self, id: &str, events: &[(&'static str, String)]) -> Append {
        self.commands += 1 << 64;
        let command = Uuid::from_u128(self.commands);
        Append {
            stream: stream(id),
            expected: ExpectedVersion::Any,
            command_id: CommandId(command),
            decision: Decision::Accepted(
                events
                    .iter()
                    .map(|(name, payload)| NewEvent {
                        event_type: EventType { name: (*name).into(), version: 1 },
                        payload: payload.clone().into(),
                    })
                    .collect(),
            ),
            metadata: Metadata {
                principal: Principal::default(),
                time: Timestamp::UNIX_EPOCH,
                correlation: command,
                causation: command,
                trace: TraceContext { trace_id: command.as_u128(), parent_id: 0, sampled: false },
                tracestate: (self.commands >> 64).is_multiple_of(2).then(|| "rojo=1".into()),
            },
            idempotency: Some(Idempotency { key: Hash::of(command.as_bytes()), fingerprint: Hash::default() }),
        }
    }

    pub(crate) async fn snapshot(&self, id: &str, version: u64, state: &str) {
        let registry = registry();
        let state_shape = registry.find_aggregate("account").expect("declared").state_shape();
        let version = StreamVersion::new(version).expect("from 1");
        let state = state.to_owned().into();
        let snapshot = Snapshot { stream: stream(id), version, state_shape, state };
        self.store.save_snapshot(snapshot).await.expect("saved");
    }

    /// Applies a batch of what is not applied yet, as an event handler does; `false` at the head.
    pub(crate) async fn fold(&mut self) -> bool {
        let registry = registry();
        let events = self.store.read(self.owned.position, ReadLimit::default()).await.expect("events");
        let decoded = events.into_iter().map(|event| Arc::new(registry.decode(event).expect("decodes")));
        let events: Vec<_> = decoded.collect();
        let Some(last) = events.last() else { return false };
        let keys: Vec<RowKey> = self.folder.plan(&events).expect("planned");
        for row in self.database.rows(self.owned.generation, keys).await.expect("rows") {
            let row = row.as_ref().map(|body| std::str::from_utf8(body).expect("text"));
            self.folder.supply(row).expect("supplied");
        }
        let commit = Commit {
            generation: self.owned.generation,
            owner: self.owned.owner,
            from: self.owned.position,
            to: last.position,
            hash: last.hash,
            rows: self.folder.fold(&events).expect("folded"),
            lineage: Arc::new(self.store.lineage().await.expect("a lineage")),
            head: HeadSeen { position: Some(last.position), age: Duration::ZERO },
        };
        let outcome = self.database.commit(commit).await.expect("committed");
        assert_eq!(outcome, query_database::CommitOutcome::Stored);
        self.folder.commit();
        self.owned.position = Some(last.position);
        true
    }
}
