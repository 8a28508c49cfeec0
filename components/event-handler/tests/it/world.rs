//! A log, a queue with its relay, and rows, on the production runtime.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use command_database::{Append, Decision, EventStore, ExpectedVersion, Head, ReadLimit, SqliteEventStore};
use event_handler::{Config, EventHandler, Handle, Metrics, Mode, Parts};
use message_queue::{InProcessConfig, InProcessQueue, MessageQueue};
use model::{
    CommandId, ConsistencyToken, EventId, EventType, Metadata, NewEvent, Position, Principal, Projection, Registry,
    RowKey, StreamId, Tenant, TraceContext, Verdict,
};
use query_database::{PointRead, RowReader, SqliteQueryDatabase};
use runtime::{Runtime, Shutdown};
use tempfile::TempDir;
use testkit::ReplaceableStore;
use tokio::sync::Notify;

use crate::domain;

pub(crate) struct World {
    pub runtime: Runtime,
    pub store: Arc<ReplaceableStore>,
    pub rows: Arc<SqliteQueryDatabase>,
    pub queue: InProcessQueue,
    pub metrics: Metrics,
    relay: Shutdown,
    appended: Arc<Notify>,
    directory: TempDir,
    /// How many files there were in the log's place.
    logs: u32,
}

/// The bytes of a log as it was, with those of its write-ahead log.
pub(crate) struct Copy([Vec<u8>; 2]);

impl World {
    pub(crate) fn new() -> Self {
        let world = Self::without_relay();
        world.start_relay();
        world
    }

    pub(crate) fn without_relay() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let runtime = Runtime::tokio();
        let path = |name: &str| -> PathBuf { directory.path().join(name) };
        let store = SqliteEventStore::open(&path("log-0.sqlite3"), &runtime, Default::default()).expect("a new log");
        let rows = SqliteQueryDatabase::open(&path("rows.sqlite3"), &runtime, &Default::default()).expect("new rows");
        Self {
            queue: new_queue(&runtime),
            runtime,
            store: Arc::new(ReplaceableStore::new(Arc::new(store))),
            rows: Arc::new(rows),
            metrics: Metrics::default(),
            relay: Shutdown::new(),
            appended: Arc::default(),
            directory,
            logs: 0,
        }
    }

    /// As after a restart of the process: what was in memory is gone.
    pub(crate) fn restart(&mut self) {
        self.relay.request();
        self.relay = Shutdown::new();
        self.queue = new_queue(&self.runtime);
        self.start_relay();
    }

    /// A relay whose stored cursor is the head: it goes back only as far as the queue's readers ask it to. Of a log that has
    /// begun another life it publishes everything.
    pub(crate) fn start_relay(&self) {
        let (store, queue, appended, stop) =
            (self.store.clone(), self.queue.clone(), self.appended.clone(), self.relay.clone());
        let relay = async move {
            let Head { position: head, mut epoch, .. } = store.head().await.expect("the log can be read");
            let mut cursor = queue.resume_after(head).await.unwrap_or(head);
            while !stop.is_requested() {
                let head = store.head().await.expect("the log can be read");
                if head.epoch != epoch || head.position < cursor {
                    (epoch, cursor) = (head.epoch, None);
                }
                let events = store.read(cursor, ReadLimit::default()).await.expect("the log can be read");
                let Some(last) = events.last().map(|event| event.position) else {
                    tokio::select! {
                        biased;
                        () = appended.notified() => {}
                        () = tokio::time::sleep(Duration::from_millis(5)) => {}
                    }
                    continue;
                };
                match queue.publish(events).await {
                    Ok(_) => cursor = Some(last),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        drop(self.runtime.spawn("relay", relay));
    }

    pub(crate) fn handler(&self, registry: Registry, config: Config) -> Handle {
        EventHandler::start(Parts {
            runtime: self.runtime.clone(),
            registry,
            store: self.store.clone(),
            queue: Arc::new(self.queue.clone()),
            rows: self.rows.clone(),
            config,
            metrics: self.metrics.clone(),
            shutdown: Shutdown::new(),
        })
    }

    /// A handler of one ledger.
    pub(crate) fn ledger_handler(&self) -> Handle {
        self.handler(with::<domain::Ledger>(domain::registry()), Config::default())
    }

    /// Appends `count` notes to some streams.
    pub(crate) async fn write(&self, count: usize) {
        for begin in (0..count).step_by(500) {
            let batch = (begin..count.min(begin + 500)).map(|index| self.note(&format!("n-{}", index % 7), "a note"));
            self.store.append(batch.collect()).await.expect("the log takes notes");
        }
        self.appended.notify_one();
    }

    pub(crate) async fn write_text(&self, text: &str) {
        self.store.append(vec![self.note("n-0", text)]).await.expect("the log takes notes");
        self.appended.notify_one();
    }

    /// Appends an event that the domain does not declare.
    pub(crate) async fn write_type(&self, name: &str) {
        let mut append = self.note("n-0", "a note");
        let event_type = EventType { name: name.into(), version: 1 };
        append.decision = Decision::Accepted(vec![NewEvent { event_type, payload: "{}".into() }]);
        self.store.append(vec![append]).await.expect("the log takes what it is given");
        self.appended.notify_one();
    }

    /// The log as it is now. Nobody may write to it meanwhile.
    pub(crate) fn copy_log(&self) -> Copy {
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        let path = self.log_path();
        Copy([read(&path), read(&path.with_extension("sqlite3-wal"))])
    }

    /// Puts the copy, or a new log, in the place of this one, under whoever uses it.
    pub(crate) fn put_log(&mut self, copy: Option<&Copy>) -> SqliteEventStore {
        self.logs += 1;
        let path = self.log_path();
        if let Some(Copy([log, write_ahead_log])) = copy {
            std::fs::write(&path, log).expect("the copy is written");
            std::fs::write(path.with_extension("sqlite3-wal"), write_ahead_log).expect("the copy is written");
        }
        SqliteEventStore::open(&path, &self.runtime, Default::default()).expect("the log opens")
    }

    /// Restores the log from the copy: it begins another life.
    pub(crate) async fn restore(&mut self, copy: &Copy) {
        let store = self.put_log(Some(copy));
        store.begin_epoch().await.expect("another life begins");
        self.store.replace(Arc::new(store));
    }

    /// Puts another log in the place of this one.
    pub(crate) fn replace_log(&mut self) {
        let store = self.put_log(None);
        self.store.replace(Arc::new(store));
    }

    /// As somebody does who knows of no epochs: puts the copy into the log's place and says nothing.
    pub(crate) fn copy_over_log(&mut self, copy: &Copy) {
        let store = self.put_log(Some(copy));
        self.store.replace(Arc::new(store));
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join(format!("log-{}.sqlite3", self.logs))
    }

    fn note(&self, id: &str, text: &str) -> Append {
        let command = self.runtime.uuid();
        let payload = format!("{{\"text\":{text:?}}}").into();
        Append {
            stream: StreamId { tenant: Tenant::default(), aggregate: "note".into(), id: id.into() },
            expected: ExpectedVersion::Any,
            command_id: CommandId(command),
            decision: Decision::Accepted(vec![NewEvent {
                event_type: EventType { name: "note.written".into(), version: 1 },
                payload,
            }]),
            metadata: Metadata {
                principal: Principal::default(),
                time: self.runtime.wall_clock(),
                correlation: command,
                causation: command,
                trace: TraceContext::default(),
                tracestate: None,
            },
            idempotency: None,
        }
    }

    pub(crate) async fn head(&self) -> Option<Position> {
        self.store.head().await.expect("the log can be read").position
    }

    /// The row that counts every event.
    pub(crate) async fn row(&self, read_model: &str) -> Option<PointRead> {
        let key = RowKey { tenant: Tenant::default(), key: "all".into() };
        self.rows.point(read_model, &key).await.ok()
    }

    pub(crate) async fn event_ids(&self) -> Vec<EventId> {
        let limit = ReadLimit { events_max: usize::MAX, bytes_max: usize::MAX };
        self.store.read(None, limit).await.expect("the log can be read").iter().map(|event| event.event_id).collect()
    }

    /// The token of a command that was just answered.
    pub(crate) async fn token(&self) -> ConsistencyToken {
        let Head { position, epoch, .. } = self.store.head().await.expect("the log can be read");
        ConsistencyToken { epoch, position: position.expect("something was written") }
    }

    /// What the rows know of the prefix that the token names.
    pub(crate) async fn judge(&self, read_model: &str, token: ConsistencyToken) -> Verdict {
        self.rows.checkpoint(read_model).await.expect("it serves").lineage.judge(&token)
    }

    /// Waits until what serves has folded the whole log, and shows that every event was folded once and in order.
    pub(crate) async fn expect_exact(&self, read_model: &str) {
        let head = self.head().await;
        eventually(&format!("{read_model} reaches {head:?}"), async || {
            let checkpoint = self.rows.checkpoint(read_model).await;
            checkpoint.is_ok_and(|checkpoint| checkpoint.position >= head && checkpoint.forked.is_none())
        })
        .await;
        self.expect_prefix(read_model).await;
    }

    /// Shows that the row is the fold of the log up to its checkpoint, wherever that is.
    pub(crate) async fn expect_prefix(&self, read_model: &str) {
        let read = self.row(read_model).await.expect("the read model serves");
        let folded = Position::count(read.checkpoint.position);
        let ids = self.event_ids().await;
        let (h, n) = domain::ledger(ids.into_iter().take(usize::try_from(folded).expect("few")));
        let found = read.row.map(|row| String::from_utf8_lossy(&row.body).into_owned());
        let expected = (n > 0).then(|| format!("{{\"h\":\"{h}\",\"n\":{n}}}"));
        assert_eq!(found, expected, "the row at checkpoint {folded}");
    }

    /// How often the log was read directly for this reason.
    pub(crate) fn direct_reads(&self, reason: &str) -> u64 {
        self.metrics.direct_reads().into_iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| count)
    }

    /// Whether metrics show an alarm about the ledger.
    pub(crate) fn forked_metric(&self) -> bool {
        let mut registry = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics are text");
        text.contains("diptych_event_handler_forked{projection=\"ledger\"} 1")
    }

    pub(crate) fn expect_healthy(&self) {
        assert_eq!(
            (self.direct_reads("hole"), self.direct_reads("outage")),
            (0, 0),
            "direct reads of a healthy system"
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.relay.request();
    }
}

fn new_queue(runtime: &Runtime) -> InProcessQueue {
    InProcessQueue::new(runtime.clone(), InProcessConfig::default(), message_queue::Metrics::default())
}

pub(crate) fn with<P: Projection>(registry: Registry) -> Registry {
    registry.projection::<P>().expect("declared well")
}

/// Waits until `holds`, at most for ten seconds; how long it took.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    began.elapsed()
}

/// Waits until each projection has counted so many events: rows can be read a moment before their events are counted.
pub(crate) async fn until_counted(handler: &Handle, events: u64) {
    let all = async || {
        let applied = |each: &event_handler::ProjectionStatus| each.applied_from_queue + each.applied_from_log;
        handler.status().projections.iter().all(|each| applied(each) == events)
    };
    eventually(&format!("{events} events are counted"), all).await;
}

pub(crate) async fn until_mode(handler: &Handle, mode: Mode) -> Duration {
    eventually(&format!("mode {}", mode.name()), async || handler.status().mode == mode).await
}
