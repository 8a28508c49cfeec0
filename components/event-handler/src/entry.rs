//! An event on its way to the projections: decoded once for all of them, with its place in the hash chain checked.

use std::sync::Arc;

use model::{Hash, Position, Recorded, Registry, StoredEvent};

/// Which of the two feeds brought an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The message queue.
    Queue,
    /// The log, read directly.
    Direct,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    /// Hash of the event before: the chain from there to here was checked.
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
    pub(crate) source: Source,
    pub(crate) bytes: usize,
    /// The event, or why this binary cannot read it. Nobody may skip it.
    pub(crate) event: Result<Arc<Recorded>, Arc<str>>,
}

/// What an event takes in memory beside its payload, roughly.
const OVERHEAD_BYTES: usize = 512;

impl Entry {
    /// `None` where `stored` does not follow on `previous` in the hash chain.
    pub(crate) fn linked(registry: &Registry, previous: Hash, stored: StoredEvent, source: Source) -> Option<Self> {
        if !command_database::verify_link(&previous, &stored) {
            return None;
        }
        let (position, hash, bytes) = (stored.position, stored.hash, stored.payload.len() + OVERHEAD_BYTES);
        let event = registry.decode(stored).map(Arc::new).map_err(|error| chain_of(&error).into());
        Some(Self { position, previous, hash, source, bytes, event })
    }
}

/// An error with its causes, for a stored reason.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
