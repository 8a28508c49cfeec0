//! Streams from the store into memory: the latest snapshot, and what came after it.

use command_database::{Error, EventStore, Load, Loaded, ReadLimit};
use model::{DecodeError, Instance, StoredEvent, StreamId, StreamVersion};
use runtime::give_way;
use tracing::{error, warn};

use crate::{
    CommandOutcome,
    complete::{chain, unread},
    job::Kind,
};

/// The slots of the streams, and what was read for each.
pub(crate) type Loads = Vec<(usize, Result<Loaded, Error>)>;

/// Up to here a stream is rebuilt on the spot; a longer one takes turns with the shard's other work.
const SHORT_EVENTS: usize = 256;

/// A stream in memory.
pub(crate) struct Rebuilt {
    pub(crate) instance: Box<dyn Instance>,
    pub(crate) version: Option<StreamVersion>,
    pub(crate) snapshot_events: u64,
}

/// Reads all of them at one go; one that cannot be read does not take the others with it.
pub(crate) async fn load(store: &dyn EventStore, wanted: Vec<(usize, Load)>) -> Loads {
    let (slots, loads): (Vec<usize>, Vec<Load>) = wanted.into_iter().unzip();
    let failure = match store.load(loads.clone(), ReadLimit::default()).await {
        Ok(loaded) => return slots.into_iter().zip(loaded.into_iter().map(Ok)).collect(),
        Err(error) if loads.len() == 1 => Err(error),
        Err(_) => Ok(()),
    };
    let mut each = Vec::with_capacity(slots.len());
    if let (Err(error), Some(slot)) = (failure, slots.first()) {
        each.push((*slot, Err(error)));
        return each;
    }
    for (slot, one) in slots.into_iter().zip(loads) {
        let loaded = store.load(vec![one], ReadLimit::default()).await;
        each.push((slot, loaded.and_then(|mut loaded| loaded.pop().ok_or(Error::WorkerGone))));
    }
    each
}

/// Whether nothing more has to be read, and little is to be done.
fn is_short(loaded: &Loaded) -> bool {
    let from = loaded.snapshot.as_ref().map(|snapshot| snapshot.version);
    let tail = StreamVersion::count(loaded.version).checked_sub(StreamVersion::count(from));
    loaded.events.len() <= SHORT_EVENTS && tail == Some(loaded.events.len() as u64)
}

/// The state of a short stream. `None` for a long one, and for a snapshot that is of no use: [`rebuild`] does those.
pub(crate) fn rebuild_now(kind: &Kind, stream: &StreamId, loaded: &Loaded) -> Option<Result<Rebuilt, CommandOutcome>> {
    if !is_short(loaded) {
        return None;
    }
    let mut rebuilt = begin(kind, loaded)?;
    Some(rebuilt.evolve(&loaded.events).map(|()| rebuilt).map_err(|error| undecodable(stream, &error)))
}

/// The state of any stream: reads on where there is more, and gives way now and then.
pub(crate) async fn rebuild(
    store: &dyn EventStore,
    kind: &Kind,
    stream: &StreamId,
    loaded: Loaded,
) -> Result<Rebuilt, CommandOutcome> {
    let (mut rebuilt, mut events) = match begin(kind, &loaded) {
        Some(rebuilt) => (rebuilt, loaded.events),
        None => (Rebuilt { instance: kind.aggregate.initial(), version: None, snapshot_events: 0 }, Vec::new()),
    };
    loop {
        for some in events.chunks(SHORT_EVENTS) {
            rebuilt.evolve(some).map_err(|error| undecodable(stream, &error))?;
            give_way().await;
        }
        if rebuilt.version >= loaded.version {
            return Ok(rebuilt);
        }
        let page = store.read_stream(stream.clone(), rebuilt.version, ReadLimit::default()).await;
        events = page.map_err(|error| {
            error!(stream.id = %stream, error = %chain(&error), "cannot load a stream");
            unread(&error)
        })?;
        if events.is_empty() {
            error!(
                stream.id = %stream, stream.version = ?loaded.version, found.version = ?rebuilt.version,
                "a stream has fewer events than its version says: run `verify`"
            );
            return Err(CommandOutcome::Internal);
        }
    }
}

fn begin(kind: &Kind, loaded: &Loaded) -> Option<Rebuilt> {
    // A snapshot from beyond the stream's end is of a life of the log that was cut off.
    let Some(snapshot) = &loaded.snapshot else {
        return Some(Rebuilt { instance: kind.aggregate.initial(), version: None, snapshot_events: 0 });
    };
    if Some(snapshot.version) > loaded.version {
        return None;
    }
    match kind.aggregate.restore(&snapshot.state) {
        Ok(instance) => {
            let (version, snapshot_events) = (Some(snapshot.version), snapshot.version.get());
            Some(Rebuilt { instance, version, snapshot_events })
        }
        Err(error) => {
            warn!(stream.id = %snapshot.stream, error = %chain(&error), "a snapshot is of no use");
            None
        }
    }
}

impl Rebuilt {
    fn evolve(&mut self, events: &[StoredEvent]) -> Result<(), DecodeError> {
        for event in events {
            self.instance.evolve(&event.event_type, &event.payload)?;
            self.version = Some(event.version);
        }
        Ok(())
    }
}

fn undecodable(stream: &StreamId, error: &DecodeError) -> CommandOutcome {
    error!(stream.id = %stream, error = %chain(error), "a stream cannot be evolved from");
    CommandOutcome::Internal
}
