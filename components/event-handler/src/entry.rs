//! An event on its way to the projections: its place in the hash chain is checked, and it is decoded once for all of them,
//! by the first that wants it.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use model::{EpochId, Hash, Position, Recorded, Registry, StoredEvent};

/// Which of the two feeds brought an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The message queue.
    Queue,
    /// The log, read directly.
    Direct,
}

/// Shared by whoever handles the event: handing it on copies a pointer.
#[derive(Clone, Debug)]
pub(crate) struct Entry(Arc<Linked>);

#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) position: Position,
    /// Hash of the event before: the chain from there to here was checked.
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
    pub(crate) source: Source,
    pub(crate) bytes: usize,
    stored: Arc<StoredEvent>,
    decoded: OnceLock<Result<Arc<Recorded>, Arc<str>>>,
}

impl Deref for Entry {
    type Target = Linked;

    fn deref(&self) -> &Linked {
        &self.0
    }
}

/// What an event takes in memory beside its payload, as it came and decoded, roughly.
const OVERHEAD_BYTES: usize = 1024;

impl Entry {
    /// `None` where `stored` does not follow on `previous` in the hash chain.
    pub(crate) fn linked(previous: Hash, stored: Arc<StoredEvent>, source: Source) -> Option<Self> {
        if !command_database::verify_link(&previous, &stored) {
            return None;
        }
        let (position, hash, bytes) = (stored.position, stored.hash, stored.payload.len() + OVERHEAD_BYTES);
        let decoded = OnceLock::new();
        Some(Self(Arc::new(Linked { position, previous, hash, source, bytes, stored, decoded })))
    }

    /// The life of the log that it says it was written in.
    pub(crate) fn epoch(&self) -> EpochId {
        self.stored.epoch
    }

    /// The event, or why this binary cannot read it. Nobody may skip it.
    pub(crate) fn event(&self, registry: &Registry) -> Result<&Arc<Recorded>, &Arc<str>> {
        let decode = || registry.decode(self.stored.clone()).map(Arc::new).map_err(|error| chain_of(&error).into());
        self.0.decoded.get_or_init(decode).as_ref()
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
