use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use command_database::{
    Append, Error, EventStore, Head, IdempotencyRecord, Load, Loaded, Outcome, ReadLimit, RelayLease, Snapshot,
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::{Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use runtime::Runtime;
use uuid::Uuid;

/// A log in whose place another one can be put while it is in use, as a failover or a restore does. Each call goes to the log
/// that is there when its turn comes.
pub struct ReplaceableStore {
    present: RwLock<Arc<dyn EventStore>>,
    /// How long a call waits for its turn, at most.
    delay: Option<(Runtime, Duration)>,
}

impl ReplaceableStore {
    /// This log at first.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { present: RwLock::new(store), delay: None }
    }

    /// This log at first, over a way that takes up to `longest`, at random: what calls see of a change is then not the same
    /// for all.
    #[must_use]
    pub fn far_away(store: Arc<dyn EventStore>, runtime: Runtime, longest: Duration) -> Self {
        Self { present: RwLock::new(store), delay: Some((runtime, longest)) }
    }

    /// That log from now on.
    pub fn replace(&self, store: Arc<dyn EventStore>) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = store;
    }

    async fn present(&self) -> Arc<dyn EventStore> {
        if let Some((runtime, longest)) = &self.delay {
            let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).max(1);
            runtime.sleep(Duration::from_micros(runtime.random_u64() % longest)).await;
        }
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

macro_rules! pass_on {
    ($($call:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl EventStore for ReplaceableStore {
            $(fn $call(&self, $($argument: $type),*) -> Answer<'_, $answer> {
                Box::pin(async move { self.present().await.$call($($argument),*).await })
            })*
        }
    };
}

pass_on! {
    append(batch: Vec<Append>) -> Vec<Outcome>;
    read(after: Option<Position>, limit: ReadLimit) -> Vec<Arc<StoredEvent>>;
    load(streams: Vec<Load>, limit: ReadLimit) -> Vec<Loaded>;
    read_stream(stream: StreamId, after: Option<StreamVersion>, limit: ReadLimit) -> Vec<StoredEvent>;
    head() -> Head;
    lineage() -> Lineage;
    idempotency(key: Hash) -> Option<IdempotencyRecord>;
    save_snapshot(snapshot: Snapshot) -> ();
    lease_relay(holder: Uuid, ttl: Duration) -> Option<RelayLease>;
    store_relay_cursor(token: u64, cursor: Position) -> bool;
    expire_idempotency(keep: Duration) -> u64;
    last_recorded_at() -> Option<Timestamp>;
}
