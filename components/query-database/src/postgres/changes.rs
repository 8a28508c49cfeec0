//! Tells whoever waits that some checkpoint may have changed: one look at each address for all who wait in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, select};
use runtime::Runtime;
use tokio::sync::{Notify, watch};

use super::reader::Address;

/// Who waits, and who looks.
pub(super) struct Changes {
    changes: watch::Sender<u64>,
    /// One for each address: somebody has begun to wait.
    awaited: Vec<Notify>,
    is_closing: AtomicBool,
    runtime: Runtime,
}

/// A wait ends after this long even if nothing changed.
const UNCHANGED_MAX: Duration = Duration::from_millis(250);

/// After a look that failed.
const PAUSE: Duration = Duration::from_millis(100);

impl Changes {
    /// Looks at each of `addresses` every `interval`, as long as somebody waits.
    pub(super) fn watch(addresses: &[Arc<Address>], interval: Duration, runtime: &Runtime) -> Arc<Self> {
        let changes = Arc::new(Self {
            changes: watch::Sender::new(0),
            awaited: addresses.iter().map(|_| Notify::new()).collect(),
            is_closing: AtomicBool::new(false),
            runtime: runtime.clone(),
        });
        for (place, address) in addresses.iter().enumerate() {
            let looking = changes.clone().look(place, address.clone(), interval);
            drop(runtime.spawn("query-database changes", looking));
        }
        changes
    }

    /// Completes when something may have changed since the call.
    pub(super) fn changed(&self) -> BoxFuture<'static, ()> {
        // Subscribed at the call: what changes before the first poll counts.
        let mut changes = self.changes.subscribe();
        self.awaited.iter().for_each(Notify::notify_one);
        let a_while = self.runtime.sleep(UNCHANGED_MAX);
        Box::pin(async move {
            let changed = std::pin::pin!(changes.changed());
            select(changed, a_while).await;
        })
    }

    /// Something was changed from here.
    pub(super) fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.awaited.iter().for_each(Notify::notify_one);
    }

    async fn look(self: Arc<Self>, place: usize, address: Arc<Address>, interval: Duration) {
        let mut last = None;
        while !self.is_closing.load(Ordering::Relaxed) {
            if self.changes.receiver_count() == 0 {
                self.awaited[place].notified().await;
                continue;
            }
            self.runtime.sleep(interval).await;
            match address.fingerprint().await {
                Ok(seen) => {
                    // The first look finds out what there is; what was there before nobody knows.
                    if last.as_ref() != Some(&seen) {
                        self.tell();
                    }
                    last = Some(seen);
                }
                // Whoever reads hears of it. Waiting ends by itself.
                Err(_) => self.runtime.sleep(PAUSE).await,
            }
        }
    }
}
