use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::Error;

/// The instances of a role: named by addresses or DNS names, which are looked up again and again, and asked whether they are
/// ready. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Instances {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    names: Vec<String>,
    known: Mutex<Vec<Instance>>,
    turn: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Instance {
    address: SocketAddr,
    /// Of the address, which a key's weight with it begins from.
    hash: u64,
    is_ready: bool,
}

impl Instances {
    /// Those at these addresses, `HOST:PORT` each. Names are looked up here for the first time, which may block; one that is
    /// not found yet is looked up again later.
    ///
    /// # Errors
    /// [`Error::NoInstance`], [`Error::Address`].
    pub fn new(names: Vec<String>) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::NoInstance);
        }
        for name in &names {
            let port = name.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                return Err(Error::Address { address: name.clone() });
            }
        }
        let found = names.iter().filter_map(|name| name.to_socket_addrs().ok()).flatten();
        let known = Mutex::new(known_from(&[], found.collect()));
        Ok(Self { inner: Arc::new(Inner { names, known, turn: AtomicUsize::new(0) }) })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.inner.names
    }

    /// What the names stand for by now. Those that stay keep what is known of them.
    pub(crate) fn found(&self, addresses: Vec<SocketAddr>) {
        let mut known = self.inner.known.lock();
        *known = known_from(&known, addresses);
    }

    pub(crate) fn all(&self) -> Vec<SocketAddr> {
        self.inner.known.lock().iter().map(|instance| instance.address).collect()
    }

    /// Notes whether an instance takes calls. True where that is news.
    pub fn set_ready(&self, address: SocketAddr, is_ready: bool) -> bool {
        let mut known = self.inner.known.lock();
        let instance = known.iter_mut().find(|instance| instance.address == address);
        instance.is_some_and(|instance| std::mem::replace(&mut instance.is_ready, is_ready) != is_ready)
    }

    /// Each that is known, and whether it takes calls.
    #[must_use]
    pub fn states(&self) -> Vec<(SocketAddr, bool)> {
        self.inner.known.lock().iter().map(|instance| (instance.address, instance.is_ready)).collect()
    }

    /// How many are known to be ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.inner.known.lock().iter().filter(|instance| instance.is_ready).count()
    }

    /// Those to try, best first: ready ones by the weight that `key` has with each (rendezvous hashing), so that callers who
    /// know nothing of each other choose the same one, and only the keys of one that is gone move. Then the others: what is
    /// known of them may be old.
    #[must_use]
    pub fn by_key(&self, key: &[u8]) -> Vec<SocketAddr> {
        let mut known = self.inner.known.lock().clone();
        known.sort_by_cached_key(|instance| {
            (!instance.is_ready, std::cmp::Reverse(mixed(fnv(instance.hash, key))), instance.address)
        });
        known.into_iter().map(|instance| instance.address).collect()
    }

    /// Those to try, in turn: another one first with each call. Those that are not ready last.
    #[must_use]
    pub fn in_turn(&self) -> Vec<SocketAddr> {
        let mut known = self.inner.known.lock().clone();
        if !known.is_empty() {
            let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed) % known.len();
            known.rotate_left(turn);
        }
        known.sort_by_key(|instance| !instance.is_ready);
        known.into_iter().map(|instance| instance.address).collect()
    }
}

/// One that nobody asked yet is taken for ready: the first call finds out.
fn known_from(before: &[Instance], mut addresses: Vec<SocketAddr>) -> Vec<Instance> {
    addresses.sort_unstable();
    addresses.dedup();
    let known = |address| before.iter().find(|instance| instance.address == address).copied();
    let new = |address: SocketAddr| Instance {
        address,
        hash: fnv(FNV_BASIS, address.to_string().as_bytes()),
        is_ready: true,
    };
    addresses.into_iter().map(|address| known(address).unwrap_or_else(|| new(address))).collect()
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, going on from `hash`: the same in every process.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// As splitmix64 mixes: FNV's high bits move little.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(ports: std::ops::RangeInclusive<u16>) -> Instances {
        Instances::new(ports.map(|port| format!("127.0.0.1:{port}")).collect()).expect("addresses")
    }

    fn first(instances: &Instances, key: usize) -> SocketAddr {
        instances.by_key(key.to_string().as_bytes())[0]
    }

    #[test]
    fn keys_spread_evenly_and_only_those_of_a_missing_instance_move() {
        let all = instances(1..=3);
        let before: Vec<SocketAddr> = (0..3000).map(|key| first(&all, key)).collect();
        for address in all.all() {
            let share = before.iter().filter(|chosen| **chosen == address).count();
            assert!((900..1100).contains(&share), "{address} has {share} of 3000");
        }
        let gone: SocketAddr = "127.0.0.1:2".parse().expect("an address");
        assert!(all.set_ready(gone, false) && !all.set_ready(gone, false));
        for (key, before) in before.into_iter().enumerate() {
            let now = first(&all, key);
            assert!(if before == gone { now != gone } else { now == before }, "{key}: {before}, then {now}");
        }
        assert_eq!(all.by_key(b"any").last(), Some(&gone), "it is tried when no other one answers");
    }

    #[test]
    fn turns_go_round_those_that_are_ready() {
        let all = instances(1..=3);
        all.set_ready("127.0.0.1:2".parse().expect("an address"), false);
        let firsts: Vec<u16> = (0..6).map(|_| all.in_turn()[0].port()).collect();
        assert!(!firsts.contains(&2) && firsts.contains(&1) && firsts.contains(&3), "{firsts:?}");
    }

    #[test]
    fn names_are_looked_up_at_once() {
        let named = Instances::new(vec!["localhost:7".to_owned()]).expect("an address");
        let all = named.all();
        assert!(!all.is_empty() && all.iter().all(|address| address.ip().is_loopback()), "{all:?}");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for name in ["", "here", "here:", ":80", "here:0", "here:99999", "[::1]"] {
            assert!(Instances::new(vec![name.to_owned()]).is_err(), "{name:?}");
        }
        assert!(Instances::new(vec!["localhost:80".to_owned(), "[::1]:80".to_owned()]).is_ok());
        assert!(Instances::new(Vec::new()).is_err());
    }
}
