//! What one event looks like in its row, both ways, and the checksum that every read compares.

use std::{num::NonZeroU64, sync::Arc};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use model::{CommandId, EventId, Hash, Lineage, Metadata, Position, StoredEvent, StreamVersion, TraceContext};
use rusqlite::{CachedStatement, Row, params};
use uuid::Uuid;

use super::{
    failure::{Failure, Result},
    names::NamesByNumber,
};
use crate::{
    Append,
    chain::{Content, Digested},
};

pub(super) const INSERT: &str =
    "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, NULL, ?13, ?14, ?15, ?16, ?17)";

/// Where an event stands.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) position: Position,
    pub(super) version: StreamVersion,
    /// Position of the stream's previous event.
    pub(super) previous: Option<Position>,
    pub(super) recorded_at: i64,
}

/// Numbers in place of names.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    /// When the first epoch began: what times are stored relative to.
    pub(super) began: i64,
    pub(super) stream: i64,
    pub(super) event_type: i64,
    pub(super) principal: i64,
}

/// CRC-32 over the content (names, not numbers: a changed name is seen too) and the place.
fn checksum(content: u32, place: &Place, hash: &Hash) -> u32 {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&place.position.get().to_be_bytes());
    bytes[8..16].copy_from_slice(&place.version.get().to_be_bytes());
    bytes[16..24].copy_from_slice(&Position::count(place.previous).to_be_bytes());
    bytes[24..32].copy_from_slice(&place.recorded_at.to_be_bytes());
    bytes[32..].copy_from_slice(&hash.0);
    let mut hasher = crc32fast::Hasher::new_with_initial(content);
    hasher.update(&bytes);
    hasher.finalize()
}

/// Inserts the `index`-th event of a command.
pub(super) fn insert(
    statement: &mut CachedStatement<'_>,
    (append, contents): (&Append, &[Digested]),
    index: usize,
    place: &Place,
    numbers: Numbers,
    hash: &Hash,
) -> Result<()> {
    let command = append.command_id.0;
    let metadata = &append.metadata;
    let unlike_command = |id: Uuid| (id != command).then(|| id.into_bytes());
    let position = number(place.position.get());
    statement.execute(params![
        position,
        numbers.stream,
        number(place.version.get()),
        place.previous.map(|previous| position - number(previous.get())),
        numbers.event_type,
        contents.len() as i64,
        index as i64,
        numbers.principal,
        place.recorded_at - numbers.began,
        place.recorded_at - metadata.time.as_microsecond(),
        // As a signed number it takes four bytes, as an unsigned one up to six.
        checksum(contents[index].checksum, place, hash).cast_signed(),
        command.as_bytes(),
        unlike_command(metadata.correlation),
        unlike_command(metadata.causation),
        encode_trace(metadata, append.command_id),
        hash.0,
        &append.events()[index].payload[..],
    ])?;
    Ok(())
}

/// The lives of the log, and what times are stored relative to.
pub(super) struct Epochs {
    pub(super) lineage: Lineage,
    /// When the first one began, in microseconds since 1970.
    pub(super) began: i64,
}

/// What decoding writes into.
#[derive(Default)]
pub(super) struct Buffers {
    /// The layout that digests and checksums are taken over.
    pub(super) content: Vec<u8>,
    payloads: BytesMut,
}

/// Payloads that are read one after the other are kept in pieces of this size: they are mostly let go of together, too, and
/// by another thread, which makes many small pieces of memory expensive.
const PAYLOADS_BYTES: usize = 32 * 1024;

impl Buffers {
    fn payload(&mut self, payload: &[u8]) -> Bytes {
        if self.payloads.capacity() < payload.len() {
            self.payloads = BytesMut::with_capacity(PAYLOADS_BYTES.max(payload.len()));
        }
        self.payloads.extend_from_slice(payload);
        self.payloads.split().freeze()
    }
}

/// The event in `row`, which has the table's columns in their order; refused when it does not fit its checksum.
pub(super) fn decode(
    row: &Row<'_>,
    names: &mut NamesByNumber<'_>,
    epochs: &Epochs,
    buffers: &mut Buffers,
) -> Result<StoredEvent> {
    match decode_unchecked(row, names, epochs, buffers)? {
        (event, true) => Ok(event),
        (event, false) => Err(Failure::corrupt(event.position.get(), "it does not fit its checksum")),
    }
}

/// As [`decode`], but says whether the event fits its checksum instead of refusing it. Leaves in `buffers.content` what its
/// digest is taken over.
pub(super) fn decode_unchecked(
    row: &Row<'_>,
    names: &mut NamesByNumber<'_>,
    epochs: &Epochs,
    buffers: &mut Buffers,
) -> Result<(StoredEvent, bool)> {
    let at = positive(row, 0, 0)?.get();
    // A value of the wrong kind in a row of ours is damage, whatever the engine calls it.
    decode_at(at, row, names, epochs, buffers).map_err(|failure| match failure {
        Failure::Engine(error) if error.sqlite_error_code().is_none() => Failure::corrupt(at, error.to_string()),
        other => other,
    })
}

fn decode_at(
    at: u64,
    row: &Row<'_>,
    names: &mut NamesByNumber<'_>,
    epochs: &Epochs,
    buffers: &mut Buffers,
) -> Result<(StoredEvent, bool)> {
    let position = Position::FIRST.plus(at - 1);
    let place = Place {
        position,
        version: StreamVersion::FIRST.plus(positive(row, 2, at)?.get() - 1),
        previous: row.get::<_, Option<i64>>(3)?.and_then(|back| Position::new(at.checked_sub(back.cast_unsigned())?)),
        recorded_at: epochs.began.saturating_add(row.get(8)?),
    };
    let damaged = |found: &str| Failure::corrupt(at, found);
    let command_id = CommandId(Uuid::from_bytes(row.get(11)?));
    let event_id = match row.get::<_, Option<[u8; 16]>>(12)? {
        Some(stored) => EventId(Uuid::from_bytes(stored)),
        None => EventId::derived(command_id, row.get(6)?),
    };
    let or_command = |id: Option<[u8; 16]>| id.map_or(command_id.0, Uuid::from_bytes);
    let time = |microseconds| Timestamp::from_microsecond(microseconds).map_err(|_| damaged("a time is out of range"));
    let trace = row.get_ref(15)?.as_blob_or_null().ok();
    let (trace, tracestate) =
        trace.and_then(|trace| decode_trace(trace, command_id)).ok_or_else(|| damaged("its trace does not decode"))?;
    let event = StoredEvent {
        position,
        epoch: epochs.lineage.epoch_of(position).ok_or_else(|| damaged("the lineage has no epoch for it"))?,
        event_id,
        stream: names.stream(row.get(1)?)?.ok_or_else(|| damaged("its stream is unknown"))?,
        version: place.version,
        event_type: names.event_type(row.get(4)?)?.ok_or_else(|| damaged("its type is unknown"))?,
        command_id,
        command_events: row.get(5)?,
        payload: buffers.payload(row.get_ref(17)?.as_blob().map_err(|_| damaged("its payload is no bytes"))?),
        metadata: Metadata {
            principal: names.principal(row.get(7)?)?.ok_or_else(|| damaged("its principal is unknown"))?,
            time: time(place.recorded_at.saturating_sub(row.get(9)?))?,
            correlation: or_command(row.get(13)?),
            causation: or_command(row.get(14)?),
            trace,
            tracestate,
        },
        recorded_at: time(place.recorded_at)?,
        hash: Hash(row.get(16)?),
    };
    Content::from(&event).encode(&mut buffers.content);
    let stored: i32 = row.get(10)?;
    let fits = checksum(crc32fast::hash(&buffers.content), &place, &event.hash) == stored.cast_unsigned();
    Ok((event, fits))
}

fn positive(row: &Row<'_>, column: usize, position: u64) -> Result<NonZeroU64> {
    NonZeroU64::new(row.get::<_, i64>(column)?.cast_unsigned())
        .ok_or_else(|| Failure::corrupt(position, "a number that counts from one is zero"))
}

/// As SQLite stores it. Nothing counts far enough to become negative.
pub(super) fn number(counted: u64) -> i64 {
    counted.cast_signed()
}

const SAMPLED: u8 = 1;
const HAS_PARENT: u8 = 2;
const HAS_ID: u8 = 4;
const HAS_STATE: u8 = 8;

/// Nothing for the trace that is named like the command; else flags, then what they announce: the tracestate last, to the
/// end.
fn encode_trace(Metadata { trace, tracestate, .. }: &Metadata, command: CommandId) -> Option<Vec<u8>> {
    let has_id = trace.trace_id != command.0.as_u128();
    if !has_id && trace.parent_id == 0 && !trace.sampled && tracestate.is_none() {
        return None;
    }
    let mut bytes = Vec::with_capacity(25 + tracestate.as_ref().map_or(0, |state| state.len()));
    bytes.push(0);
    if trace.sampled {
        bytes[0] |= SAMPLED;
    }
    if trace.parent_id != 0 {
        bytes[0] |= HAS_PARENT;
        bytes.extend_from_slice(&trace.parent_id.to_be_bytes());
    }
    if has_id {
        bytes[0] |= HAS_ID;
        bytes.extend_from_slice(&trace.trace_id.to_be_bytes());
    }
    if let Some(state) = tracestate {
        bytes[0] |= HAS_STATE;
        bytes.extend_from_slice(state.as_bytes());
    }
    Some(bytes)
}

fn decode_trace(bytes: Option<&[u8]>, command: CommandId) -> Option<(TraceContext, Option<Arc<str>>)> {
    let mut trace = TraceContext { trace_id: command.0.as_u128(), parent_id: 0, sampled: false };
    let Some(bytes) = bytes else { return Some((trace, None)) };
    let (flags, mut rest) = bytes.split_first()?;
    trace.sampled = flags & SAMPLED != 0;
    if flags & HAS_PARENT != 0 {
        let (parent, after) = rest.split_first_chunk()?;
        trace.parent_id = u64::from_be_bytes(*parent);
        rest = after;
    }
    if flags & HAS_ID != 0 {
        let (id, after) = rest.split_first_chunk()?;
        trace.trace_id = u128::from_be_bytes(*id);
        rest = after;
    }
    if flags & HAS_STATE != 0 {
        return Some((trace, Some(std::str::from_utf8(rest).ok()?.into())));
    }
    rest.is_empty().then_some((trace, None))
}
