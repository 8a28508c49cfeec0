//! What a message looks like: an event with all that the log knows of it, compact, with a checksum.
//!
//! Layout, version 1, integers little-endian: the version byte; position, epoch, event id, stream version, command id, its
//! event count, times in microseconds, correlation, causation, trace, hash, version of the type; then tenant, aggregate,
//! id, type name and principal, each with a length of four bytes before it; then the payload and, where the trace's flags
//! announce one, the tracestate, likewise; then CRC-32 of all.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, Principal, StoredEvent, StreamId, StreamVersion,
    Tenant, TraceContext,
};
use uuid::Uuid;

use crate::Error;

const LAYOUT: u8 = 1;
const FIXED_BYTES: usize = 1 + 8 + 16 + 16 + 8 + 16 + 4 + 8 + 8 + 16 + 16 + 16 + 8 + 1 + 32 + 4;
const LENGTHS_BYTES: usize = 7 * 4;
const CHECKSUM_BYTES: usize = 4;
const SAMPLED: u8 = 1;
const HAS_STATE: u8 = 2;

fn texts(event: &StoredEvent) -> [&str; 5] {
    [
        event.stream.tenant.as_str(),
        &event.stream.aggregate,
        &event.stream.id,
        &event.event_type.name,
        event.metadata.principal.as_str(),
    ]
}

/// How many bytes the message that carries `event` has, at most.
pub(crate) fn length(event: &StoredEvent) -> usize {
    let texts: usize = texts(event).iter().copied().chain(event.metadata.tracestate.as_deref()).map(str::len).sum();
    FIXED_BYTES + LENGTHS_BYTES + texts + event.payload.len() + CHECKSUM_BYTES
}

/// The message that carries `event`. Times keep their microseconds.
#[must_use]
pub fn encode(event: &StoredEvent) -> Bytes {
    let texts = texts(event);
    let tracestate = event.metadata.tracestate.as_deref();
    let mut message = BytesMut::with_capacity(length(event));
    let sampled = if event.metadata.trace.sampled { SAMPLED } else { 0 };
    let has_state = if tracestate.is_some() { HAS_STATE } else { 0 };
    message.put_u8(LAYOUT);
    message.put_u64_le(event.position.get());
    message.put_slice(event.epoch.0.as_bytes());
    message.put_slice(event.event_id.0.as_bytes());
    message.put_u64_le(event.version.get());
    message.put_slice(event.command_id.0.as_bytes());
    message.put_u32_le(event.command_events);
    message.put_i64_le(event.recorded_at.as_microsecond());
    message.put_i64_le(event.metadata.time.as_microsecond());
    message.put_slice(event.metadata.correlation.as_bytes());
    message.put_slice(event.metadata.causation.as_bytes());
    message.put_u128_le(event.metadata.trace.trace_id);
    message.put_u64_le(event.metadata.trace.parent_id);
    message.put_u8(sampled | has_state);
    message.put_slice(&event.hash.0);
    message.put_u32_le(event.event_type.version);
    for text in texts {
        put_sized(&mut message, text.as_bytes());
    }
    put_sized(&mut message, &event.payload);
    if let Some(tracestate) = tracestate {
        put_sized(&mut message, tracestate.as_bytes());
    }
    let checksum = crc32fast::hash(&message);
    message.put_u32_le(checksum);
    message.freeze()
}

/// The event that `message` carries. Its payload shares the message's memory.
///
/// # Errors
/// [`Error::Undecodable`] where a byte was changed or is missing, or the layout is of another version.
pub fn decode(message: &Bytes) -> Result<StoredEvent, Error> {
    let content = checked(message)?;
    let mut reader = Reader { rest: content };
    reader.event().ok_or_else(|| undecodable("its fields do not fit its length"))
}

/// The message id: `epoch:position:event id`. Position alone would let a new epoch's event pass for an old one's.
#[must_use]
pub fn message_id(event: &StoredEvent) -> String {
    format!("{}:{}:{}", event.epoch, event.position, event.event_id)
}

fn put_sized(message: &mut BytesMut, bytes: &[u8]) {
    // The log refuses payloads and names far below four gigabytes.
    message.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    message.put_slice(bytes);
}

fn undecodable(reason: &str) -> Error {
    Error::Undecodable { reason: reason.to_owned() }
}

fn checked(message: &Bytes) -> Result<Bytes, Error> {
    let content_bytes = message.len().checked_sub(CHECKSUM_BYTES).ok_or_else(|| undecodable("it is too short"))?;
    let (content, mut checksum) = message.split_at(content_bytes);
    if crc32fast::hash(content) != checksum.get_u32_le() {
        return Err(undecodable("its checksum does not fit"));
    }
    match content.first() {
        Some(&LAYOUT) => Ok(message.slice(1..content_bytes)),
        Some(layout) => Err(undecodable(&format!("it has layout {layout}, this binary reads {LAYOUT}"))),
        None => Err(undecodable("it is empty")),
    }
}

struct Reader {
    rest: Bytes,
}

impl Reader {
    fn event(&mut self) -> Option<StoredEvent> {
        let position = Position::new(self.rest.try_get_u64_le().ok()?)?;
        let epoch = EpochId(self.uuid()?);
        let event_id = EventId(self.uuid()?);
        let version = StreamVersion::new(self.rest.try_get_u64_le().ok()?)?;
        let command_id = CommandId(self.uuid()?);
        let command_events = self.rest.try_get_u32_le().ok()?;
        let recorded_at = self.time()?;
        let time = self.time()?;
        let correlation = self.uuid()?;
        let causation = self.uuid()?;
        let (trace_id, parent_id) = (self.rest.try_get_u128_le().ok()?, self.rest.try_get_u64_le().ok()?);
        let flags = self.rest.try_get_u8().ok()?;
        let trace = TraceContext { trace_id, parent_id, sampled: flags & SAMPLED != 0 };
        let hash = Hash::from_slice(&self.bytes(32)?)?;
        let type_version = self.rest.try_get_u32_le().ok()?;
        let tenant = self.tenant()?;
        let stream = StreamId { tenant, aggregate: self.text()?, id: self.text()? };
        let event_type = EventType { name: self.text()?, version: type_version };
        let principal = self.principal()?;
        let payload = self.sized()?;
        let tracestate = if flags & HAS_STATE == 0 { None } else { Some(self.text()?) };
        let metadata = Metadata { principal, time, correlation, causation, trace, tracestate };
        self.rest.is_empty().then_some(StoredEvent {
            position,
            epoch,
            event_id,
            stream,
            version,
            event_type,
            command_id,
            command_events,
            payload,
            metadata,
            recorded_at,
            hash,
        })
    }

    fn bytes(&mut self, count: usize) -> Option<Bytes> {
        (self.rest.len() >= count).then(|| self.rest.split_to(count))
    }

    fn sized(&mut self) -> Option<Bytes> {
        let count = usize::try_from(self.rest.try_get_u32_le().ok()?).ok()?;
        self.bytes(count)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(&self.sized()?).ok().map(Arc::from)
    }

    // Nearly all events are of these two; their text is shared instead of copied for each event.
    fn tenant(&mut self) -> Option<Tenant> {
        let text = self.sized()?;
        let default = Tenant::default();
        let text = std::str::from_utf8(&text).ok()?;
        Some(if text == default.as_str() { default } else { Tenant::new(text) })
    }

    fn principal(&mut self) -> Option<Principal> {
        let text = self.sized()?;
        let default = Principal::default();
        let text = std::str::from_utf8(&text).ok()?;
        Some(if text == default.as_str() { default } else { Principal::new(text) })
    }

    fn uuid(&mut self) -> Option<Uuid> {
        Uuid::from_slice(&self.bytes(16)?).ok()
    }

    fn time(&mut self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.rest.try_get_i64_le().ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uuids() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn times() -> impl Strategy<Value = Timestamp> {
        (-1_000_000_000_000_000_i64..4_000_000_000_000_000).prop_map(|microseconds| {
            Timestamp::from_microsecond(microseconds).expect("the range is within what jiff represents")
        })
    }

    prop_compose! {
        fn metadatas()(
            principal in ".{0,20}", time in times(), correlation in uuids(), causation in uuids(),
            trace_id: u128, parent_id: u64, sampled: bool, tracestate in prop::option::of(".{0,20}"),
        ) -> Metadata {
            let trace = TraceContext { trace_id, parent_id, sampled };
            let (principal, tracestate) = (Principal::new(&principal), tracestate.map(Arc::from));
            Metadata { principal, time, correlation, causation, trace, tracestate }
        }
    }

    prop_compose! {
        fn streams()(tenant in "default|[a-z]{1,8}", aggregate in "[a-z_]{1,10}", id in ".{1,30}") -> StreamId {
            StreamId { tenant: Tenant::new(&tenant), aggregate: aggregate.into(), id: id.into() }
        }
    }

    prop_compose! {
        fn events()(
            position in 1_u64.., epoch in uuids(), event_id in uuids(), stream in streams(), version in 1_u64..,
            name in "[a-z.]{1,20}", type_version: u32, command_id in uuids(), command_events: u32,
            payload in prop::collection::vec(any::<u8>(), 0..200), metadata in metadatas(), recorded_at in times(),
            hash: [u8; 32],
        ) -> StoredEvent {
            StoredEvent {
                position: Position::new(position).expect("not zero"),
                epoch: EpochId(epoch),
                event_id: EventId(event_id),
                stream,
                version: StreamVersion::new(version).expect("not zero"),
                event_type: EventType { name: name.into(), version: type_version },
                command_id: CommandId(command_id),
                command_events,
                payload: payload.into(),
                metadata,
                recorded_at,
                hash: Hash(hash),
            }
        }
    }

    proptest! {
        #[test]
        fn a_message_gives_back_the_event_it_was_made_of(event in events()) {
            prop_assert_eq!(decode(&encode(&event)), Ok(event));
        }

        #[test]
        fn a_changed_byte_is_noticed(event in events(), place: prop::sample::Index, change in 1_u8..) {
            let mut message = encode(&event).to_vec();
            let place = place.index(message.len());
            message[place] ^= change;
            let decoded = decode(&message.into());
            prop_assert!(matches!(decoded, Err(Error::Undecodable { .. })), "{:?}", decoded);
        }

        #[test]
        fn a_missing_end_is_noticed(event in events(), kept: prop::sample::Index) {
            let message = encode(&event);
            prop_assert!(decode(&message.slice(..kept.index(message.len()))).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut message = bytes;
            message.insert(0, LAYOUT);
            message.extend(crc32fast::hash(&message).to_le_bytes());
            let _ = decode(&message.into());
        }
    }
}
