//! The real log with a hand on it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use command_database::{
    Append, Error, EventStore, Groups, Head, IdempotencyRecord, Load, Loaded, Outcome, ReadLimit, RelayLease, Snapshot,
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::{EpochId, Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use uuid::Uuid;

/// What happens to the next append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It finds no space; nothing is written.
    Full,
    /// It is written, and the answer is lost.
    AnswerLost,
    /// It is taken by whoever submits, whose commit panics.
    Panic,
}

/// Delegates to the real log, does harm where asked to, and takes note of what it is asked.
pub(crate) struct Faulty {
    log: Arc<dyn EventStore>,
    /// What becomes of the next appends, one after the other.
    pub(crate) faults: Mutex<Vec<Fault>>,
    /// The id of a stream that cannot be read.
    pub(crate) unreadable: Mutex<Option<String>>,
    /// The epoch that appends are said to be in.
    pub(crate) epoch: Mutex<Option<EpochId>>,
    /// Ids of the streams that were loaded.
    pub(crate) loaded: Mutex<Vec<String>>,
    /// Bytes of the events that were read from streams.
    pub(crate) events_read: AtomicU64,
    /// Batches that were to be appended.
    pub(crate) appends: AtomicU64,
    pub(crate) snapshots: Mutex<Vec<Snapshot>>,
    /// How many of them are on their way.
    pub(crate) saving: AtomicU64,
    /// Whether appends wait.
    pub(crate) is_held: AtomicBool,
    pub(crate) released: tokio::sync::Notify,
}

impl Faulty {
    pub(crate) fn new(log: Arc<dyn EventStore>) -> Arc<Self> {
        Arc::new(Self {
            log,
            faults: Mutex::default(),
            unreadable: Mutex::default(),
            epoch: Mutex::default(),
            loaded: Mutex::default(),
            events_read: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            snapshots: Mutex::default(),
            saving: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
            released: tokio::sync::Notify::new(),
        })
    }

    pub(crate) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    pub(crate) fn release(&self) {
        self.is_held.store(false, Ordering::SeqCst);
        self.released.notify_waiters();
    }

    fn read_error() -> Error {
        Error::Read { log: "log".to_owned(), source: "lost".into() }
    }

    fn take_fault(&self) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("no panic");
        if faults.is_empty() { None } else { Some(faults.remove(0)) }
    }
}

impl EventStore for Faulty {
    fn commit_at_once(&self, groups: &Groups) -> bool {
        if self.faults.lock().expect("no panic").first() == Some(&Fault::Panic) {
            self.take_fault();
            let _taken = groups.next();
            panic!("as asked");
        }
        false
    }

    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Result<Vec<Outcome>, Error>> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            loop {
                let released = self.released.notified();
                if !self.is_held.load(Ordering::SeqCst) {
                    break;
                }
                released.await;
            }
            let fault = self.take_fault();
            if fault == Some(Fault::Full) {
                return Err(Error::StorageFull { log: "log".to_owned() });
            }
            let mut outcomes = self.log.append(batch).await?;
            if fault == Some(Fault::AnswerLost) {
                return Err(Error::Commit { log: "log".to_owned(), source: "lost".into() });
            }
            if let Some(another) = *self.epoch.lock().expect("no panic") {
                for outcome in &mut outcomes {
                    if let Outcome::Committed { epoch, .. } = outcome {
                        *epoch = another;
                    }
                }
            }
            Ok(outcomes)
        })
    }

    fn load(&self, streams: Vec<Load>, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Loaded>, Error>> {
        Box::pin(async move {
            let unreadable = self.unreadable.lock().expect("no panic").clone();
            if streams.iter().any(|load| Some(&*load.stream.id) == unreadable.as_deref()) {
                return Err(Self::read_error());
            }
            self.loaded.lock().expect("no panic").extend(streams.iter().map(|load| load.stream.id.to_string()));
            let loaded = self.log.load(streams, limit).await?;
            let events: usize = loaded.iter().map(|loaded| loaded.events.len()).sum();
            self.events_read.fetch_add(events as u64, Ordering::SeqCst);
            Ok(loaded)
        })
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, Error>> {
        Box::pin(async move {
            let events = self.log.read_stream(stream, after, limit).await?;
            self.events_read.fetch_add(events.len() as u64, Ordering::SeqCst);
            Ok(events)
        })
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), Error>> {
        self.saving.fetch_add(1, Ordering::SeqCst);
        self.snapshots.lock().expect("no panic").push(snapshot.clone());
        Box::pin(async {
            let saved = self.log.save_snapshot(snapshot).await;
            self.saving.fetch_sub(1, Ordering::SeqCst);
            saved
        })
    }

    fn read(&self, after: Option<Position>, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Arc<StoredEvent>>, Error>> {
        self.log.read(after, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, Error>> {
        self.log.head()
    }

    fn lineage(&self) -> BoxFuture<'_, Result<Lineage, Error>> {
        self.log.lineage()
    }

    fn idempotency(&self, key: Hash) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Error>> {
        self.log.idempotency(key)
    }

    fn lease_relay(&self, holder: Uuid, ttl: Duration) -> BoxFuture<'_, Result<Option<RelayLease>, Error>> {
        self.log.lease_relay(holder, ttl)
    }

    fn store_relay_cursor(&self, token: u64, cursor: Position) -> BoxFuture<'_, Result<bool, Error>> {
        self.log.store_relay_cursor(token, cursor)
    }

    fn expire_idempotency(&self, keep: Duration) -> BoxFuture<'_, Result<u64, Error>> {
        self.log.expire_idempotency(keep)
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        self.log.last_recorded_at()
    }
}
