//! An event on its way to the projections: its place in the hash chain is checked, and it is decoded once for all of them,
//! by the first that wants it.

use std::sync::{Arc, OnceLock};

use model::{EpochId, Hash, Position, Recorded, Registry, StoredEvent};
use parking_lot::Mutex;

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
    content: Arc<Content>,
}

#[derive(Debug)]
struct Content {
    epoch: EpochId,
    /// As it came, until it is decoded.
    stored: Mutex<Option<StoredEvent>>,
    decoded: OnceLock<Result<Arc<Recorded>, Arc<str>>>,
}

/// What an event takes in memory beside its payload, as it came and decoded, roughly.
const OVERHEAD_BYTES: usize = 1024;

impl Entry {
    /// `None` where `stored` does not follow on `previous` in the hash chain.
    pub(crate) fn linked(previous: Hash, stored: StoredEvent, source: Source) -> Option<Self> {
        if !command_database::verify_link(&previous, &stored) {
            return None;
        }
        let (position, hash, bytes) = (stored.position, stored.hash, stored.payload.len() + OVERHEAD_BYTES);
        let epoch = stored.epoch;
        let content = Arc::new(Content { epoch, stored: Mutex::new(Some(stored)), decoded: OnceLock::new() });
        Some(Self { position, previous, hash, source, bytes, content })
    }

    /// The life of the log that it says it was written in.
    pub(crate) fn epoch(&self) -> EpochId {
        self.content.epoch
    }

    /// The event, or why this binary cannot read it. Nobody may skip it.
    pub(crate) fn event(&self, registry: &Registry) -> Result<&Arc<Recorded>, &Arc<str>> {
        let Content { stored, decoded, .. } = &*self.content;
        let decode = || {
            // Whoever decodes it does so once; only a panic in between leaves nothing to decode.
            let stored = stored.lock().take().ok_or("its decoding was broken off")?;
            registry.decode(stored).map(Arc::new).map_err(|error| chain_of(&error).into())
        };
        decoded.get_or_init(decode).as_ref()
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
