//! Connections for reads that run on the thread that asks.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::{Mutex, MutexGuard};

use super::{checkpoint::Clock, reader::Reader};
use crate::Error;

/// A few connections. Each thread has one that it tries first, so that threads hardly ever meet.
pub(super) struct Pool {
    readers: Box<[Mutex<Reader>]>,
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl Pool {
    pub(super) fn open(path: &Path, connections: usize, cache_bytes: u64, clock: Clock) -> Result<Self, Error> {
        let readers = (0..connections.max(1)).map(|_| Reader::open(path, cache_bytes, clock).map(Mutex::new));
        Ok(Self { readers: readers.collect::<Result<_, _>>()? })
    }

    /// A free connection; where none is free, this thread's own, once it is. Nobody holds one for longer than a point read.
    pub(super) fn reader(&self) -> MutexGuard<'_, Reader> {
        let own = THREAD.with(|thread| *thread) % self.readers.len();
        let (before, from) = self.readers.split_at(own);
        from.iter().chain(before).find_map(Mutex::try_lock).unwrap_or_else(|| self.readers[own].lock())
    }
}
