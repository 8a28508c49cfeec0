use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::watch::Watch;
use crate::telemetry::Policy;

/// All open connections of one listener. Locked when one opens or closes and by the sweep, never by a request.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    next: AtomicU64,
    emptied: Notify,
}

#[derive(Default)]
struct Open {
    watches: BTreeMap<u64, Arc<Watch>>,
    of_peer: BTreeMap<IpAddr, usize>,
}

/// A place among the open connections, given back when dropped.
pub(super) struct Seat {
    connections: Arc<Connections>,
    number: u64,
    peer: IpAddr,
}

impl Connections {
    /// Takes a place for a connection of `peer`.
    ///
    /// # Errors
    /// The limit that has no place left.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        watch: &Arc<Watch>,
        connections_max: usize,
        of_peer_max: usize,
    ) -> Result<Seat, Policy> {
        let mut open = self.open.lock();
        if open.watches.len() >= connections_max {
            return Err(Policy::Connections);
        }
        let of_peer = open.of_peer.entry(peer).or_default();
        if *of_peer >= of_peer_max {
            return Err(Policy::ConnectionsPerPeer);
        }
        *of_peer += 1;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.watches.insert(number, watch.clone());
        Ok(Seat { connections: self.clone(), number, peer })
    }

    /// Wakes every connection whose time has come.
    pub(super) fn sweep(&self, now: u64) {
        for watch in self.open.lock().watches.values() {
            watch.sweep(now);
        }
    }

    /// Asks every connection to close as soon as it owes no answer.
    pub(super) fn close_all(&self) {
        for watch in self.open.lock().watches.values() {
            watch.close();
        }
    }

    /// Closes every connection, whatever it owes, and says how many there were.
    pub(super) fn abandon_all(&self) -> usize {
        let open = self.open.lock();
        for watch in open.watches.values() {
            watch.abandon();
        }
        open.watches.len()
    }

    fn count(&self) -> usize {
        self.open.lock().watches.len()
    }

    /// Completes once no connection is open.
    pub(super) async fn emptied(&self) {
        loop {
            let notified = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.watches.remove(&self.number);
        if let Some(of_peer) = open.of_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                open.of_peer.remove(&self.peer);
            }
        }
        if open.watches.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}
