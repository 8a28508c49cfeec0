//! The hash over an event and its predecessor.
//!
//! Two steps, so that the expensive one needs neither lock nor head: [`digest`] over what the client knows, then [`chain`]
//! over what only the writer knows. All integers are big-endian, all texts and payloads carry their length (u32) in front.
//!
//! The digest's bytes, in order: the layout's name; event id; tenant, aggregate and id; type name and version (u32); command
//! id and its event count (u32); payload; principal; time in microseconds; correlation; causation; trace id (16 bytes) and
//! parent (8); one byte of flags, of which bit 0 means sampled and bit 1 that a tracestate follows, as a text.

use model::{CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, StoredEvent, StreamId, StreamVersion};

use crate::Append;

/// Names this layout, so that another one could never give the same bytes.
const LAYOUT: &[u8; 8] = b"diptych1";

/// Everything stored about an event except what its place in the log adds.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Its own id.
    pub event_id: EventId,
    /// Whose stream, and which.
    pub stream: &'a StreamId,
    /// Stored name and version.
    pub event_type: &'a EventType,
    /// The command that made it.
    pub command_id: CommandId,
    /// How many events that command made.
    pub command_events: u32,
    /// Its fields as JSON text.
    pub payload: &'a [u8],
    /// Who, when, why. Of its time, whole microseconds count.
    pub metadata: &'a Metadata,
}

impl<'a> From<&'a StoredEvent> for Content<'a> {
    fn from(event: &'a StoredEvent) -> Self {
        Self {
            event_id: event.event_id,
            stream: &event.stream,
            event_type: &event.event_type,
            command_id: event.command_id,
            command_events: event.command_events,
            payload: &event.payload,
            metadata: &event.metadata,
        }
    }
}

impl Content<'_> {
    /// Puts the fixed layout into `bytes`, in place of what was there.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.reserve(self.payload.len() + 256);
        bytes.extend_from_slice(LAYOUT);
        bytes.extend_from_slice(self.event_id.0.as_bytes());
        sized(bytes, self.stream.tenant.as_str().as_bytes());
        sized(bytes, self.stream.aggregate.as_bytes());
        sized(bytes, self.stream.id.as_bytes());
        sized(bytes, self.event_type.name.as_bytes());
        bytes.extend_from_slice(&self.event_type.version.to_be_bytes());
        bytes.extend_from_slice(self.command_id.0.as_bytes());
        bytes.extend_from_slice(&self.command_events.to_be_bytes());
        sized(bytes, self.payload);
        sized(bytes, self.metadata.principal.as_str().as_bytes());
        bytes.extend_from_slice(&self.metadata.time.as_microsecond().to_be_bytes());
        bytes.extend_from_slice(self.metadata.correlation.as_bytes());
        bytes.extend_from_slice(self.metadata.causation.as_bytes());
        bytes.extend_from_slice(&self.metadata.trace.trace_id.to_be_bytes());
        bytes.extend_from_slice(&self.metadata.trace.parent_id.to_be_bytes());
        let tracestate = self.metadata.tracestate.as_deref();
        bytes.push(u8::from(self.metadata.trace.sampled) | u8::from(tracestate.is_some()) << 1);
        if let Some(tracestate) = tracestate {
            sized(bytes, tracestate.as_bytes());
        }
    }
}

fn sized(bytes: &mut Vec<u8>, part: &[u8]) {
    // Nothing near 4 GiB gets past the limit on a batch.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

/// Commands, with everything about their events that can be computed before their place is known.
pub(crate) struct Prepared {
    appends: Vec<Append>,
    /// Of all their events, in order.
    contents: Vec<Digested>,
}

/// What stays of an event's content for the writer to chain.
#[derive(Clone, Copy)]
pub(crate) struct Digested {
    pub(crate) digest: Hash,
    /// CRC-32 of the same bytes.
    pub(crate) checksum: u32,
}

impl Prepared {
    pub(crate) fn new(appends: Vec<Append>) -> Self {
        let mut contents = Vec::with_capacity(appends.iter().map(|append| append.events().len()).sum());
        let mut bytes = Vec::new();
        for append in &appends {
            let events = append.events();
            let command_events = u32::try_from(events.len()).unwrap_or(u32::MAX);
            for (index, event) in (0..).zip(events) {
                let content = Content {
                    event_id: EventId::derived(append.command_id, index),
                    stream: &append.stream,
                    event_type: &event.event_type,
                    command_id: append.command_id,
                    command_events,
                    payload: &event.payload,
                    metadata: &append.metadata,
                };
                content.encode(&mut bytes);
                contents.push(Digested { digest: Hash::of(&bytes), checksum: crc32fast::hash(&bytes) });
            }
        }
        Self { appends, contents }
    }

    /// How many commands.
    pub(crate) fn len(&self) -> usize {
        self.appends.len()
    }

    /// How many events.
    pub(crate) fn events(&self) -> usize {
        self.contents.len()
    }

    /// The commands, each with what was computed of its events.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&Append, &[Digested])> {
        let mut rest = &self.contents[..];
        self.appends.iter().map(move |append| {
            let (contents, after) = rest.split_at(append.events().len());
            rest = after;
            (append, contents)
        })
    }

    pub(crate) fn appends(&self) -> impl Iterator<Item = &Append> {
        self.appends.iter()
    }

    pub(crate) fn into_appends(self) -> Vec<Append> {
        self.appends
    }
}

/// SHA-256 over everything stored about an event but position, version, `recorded_at`, epoch and hash.
#[must_use]
pub fn digest(content: &Content<'_>) -> Hash {
    let mut bytes = Vec::new();
    content.encode(&mut bytes);
    Hash::of(&bytes)
}

/// The event's hash: SHA-256 over the previous event's hash, its own place, and its digest.
///
/// `recorded_at` is in microseconds since 1970. Before the first event the previous hash is all zero.
#[must_use]
pub fn chain(
    previous: &Hash,
    epoch: EpochId,
    position: Position,
    version: StreamVersion,
    recorded_at: i64,
    digest: &Hash,
) -> Hash {
    let mut bytes = [0; 104];
    bytes[..32].copy_from_slice(&previous.0);
    bytes[32..48].copy_from_slice(epoch.0.as_bytes());
    bytes[48..56].copy_from_slice(&position.get().to_be_bytes());
    bytes[56..64].copy_from_slice(&version.get().to_be_bytes());
    bytes[64..72].copy_from_slice(&recorded_at.to_be_bytes());
    bytes[72..].copy_from_slice(&digest.0);
    Hash::of(&bytes)
}

/// Whether `event` is what was written after the event of hash `previous`.
#[must_use]
pub fn verify_link(previous: &Hash, event: &StoredEvent) -> bool {
    let digest = digest(&Content::from(event));
    let recorded_at = event.recorded_at.as_microsecond();
    event.hash == chain(previous, event.epoch, event.position, event.version, recorded_at, &digest)
}
