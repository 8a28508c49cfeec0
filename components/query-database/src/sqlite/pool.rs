//! Connections for reads that run on the thread that asks.
//!
//! Half the price of a point read is asking the system for the locks of a new snapshot. As long as nothing was committed, the
//! snapshot before is the same, so it is kept.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use super::{checkpoint::Clock, file, reader::Reader};
use crate::Error;

/// A few connections. Each thread has one that it tries first, so that threads hardly ever meet.
pub(super) struct Pool {
    places: Box<[Mutex<Place>]>,
    commits: AtomicU64,
}

struct Place {
    reader: Reader,
    /// How many commits there had been, and when it was, when its snapshot began.
    snapshot: Option<(u64, Duration)>,
}

/// A snapshot is not kept for longer: commits of another process are seen after that.
const SNAPSHOT_MAX: Duration = Duration::from_millis(5);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl Pool {
    pub(super) fn open(path: &Path, connections: usize, cache_bytes: u64, clock: Clock) -> Result<Self, Error> {
        let place = |_| Ok(Mutex::new(Place { reader: Reader::open(path, cache_bytes, clock)?, snapshot: None }));
        let places = (0..connections.max(1)).map(place).collect::<Result<_, Error>>()?;
        Ok(Self { places, commits: AtomicU64::new(0) })
    }

    /// Something may have been committed: whoever reads from now on gets a snapshot with it.
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Release);
    }

    /// Reads on a connection whose snapshot has every commit that was answered before the call.
    pub(super) fn read<T>(
        &self,
        now: Duration,
        read: impl FnOnce(&mut Reader) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Before the snapshot: one that begins later has at least these commits.
        let commits = self.commits.load(Ordering::Acquire);
        let mut place = self.place();
        let kept = |(then, since): (u64, Duration)| then == commits && now.saturating_sub(since) < SNAPSHOT_MAX;
        if !place.snapshot.is_some_and(kept) {
            place.begin()?;
            place.snapshot = Some((commits, now));
        }
        read(&mut place.reader)
    }

    /// A free connection; where none is free, this thread's own, once it is. Nobody holds one for longer than a point read.
    fn place(&self) -> MutexGuard<'_, Place> {
        let own = THREAD.with(|thread| *thread) % self.places.len();
        let (before, from) = self.places.split_at(own);
        from.iter().chain(before).find_map(Mutex::try_lock).unwrap_or_else(|| self.places[own].lock())
    }

    /// Ends the snapshots that are kept, so that the WAL can be moved up to its end.
    pub(super) fn let_go(&self) -> rusqlite::Result<()> {
        self.places.iter().try_for_each(|place| place.lock().end())
    }
}

impl Place {
    fn begin(&mut self) -> Result<(), Error> {
        let begun = self.end().and_then(|()| self.reader.connection.prepare_cached("BEGIN")?.raw_execute());
        begun.map(drop).map_err(|source| file::reading(&self.reader.path, source))
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        self.snapshot = None;
        // Some failures have ended it already.
        if self.reader.connection.is_autocommit() {
            return Ok(());
        }
        self.reader.connection.prepare_cached("ROLLBACK")?.raw_execute().map(drop)
    }
}
