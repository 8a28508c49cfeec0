//! What one event looks like in its row, and the checksum that every read compares.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, Principal, StoredEvent, StreamId, StreamVersion,
    Tenant, TraceContext,
};
use tokio_postgres::{Row, types::FromSql};
use uuid::Uuid;

use super::{
    failure::{Failure, Result},
    text,
};
use crate::chain::Content;

/// Columns of the view, in the order that [`decode`] counts on.
pub(super) const COLUMNS: &str = "position, epoch, tenant, aggregate, id, version, type, type_version, command_id, \
    command_events, command_index, event_id, principal, decided_at, correlation, causation, trace, recorded_at, hash, \
    checksum, payload";

/// The first bytes of a SHA-256, which the server can compute, unlike a CRC: over the CRC-32 of the content (names, not
/// numbers: a changed name is seen too), the place, and the hash.
pub(super) fn checksum(content: u32, event: &StoredEvent) -> [u8; 4] {
    let mut bytes = [0; 60];
    bytes[..4].copy_from_slice(&content.to_be_bytes());
    bytes[4..12].copy_from_slice(&event.position.get().to_be_bytes());
    bytes[12..20].copy_from_slice(&event.version.get().to_be_bytes());
    bytes[20..28].copy_from_slice(&event.recorded_at.as_microsecond().to_be_bytes());
    bytes[28..].copy_from_slice(&event.hash.0);
    short(&Hash::of(&bytes))
}

pub(super) fn short(hash: &Hash) -> [u8; 4] {
    [hash.0[0], hash.0[1], hash.0[2], hash.0[3]]
}

/// The event in `row`; refused when it does not fit its checksum. `buffer` is written into.
pub(super) fn decode(row: &Row, buffer: &mut Vec<u8>) -> Result<StoredEvent> {
    match decode_unchecked(row, buffer)? {
        (event, true) => Ok(event),
        (event, false) => Err(Failure::corrupt(event.position.get(), "it does not fit its checksum")),
    }
}

/// As [`decode`], but says whether the event fits its checksum instead of refusing it. Leaves in `buffer` what its digest is
/// taken over.
pub(super) fn decode_unchecked(row: &Row, buffer: &mut Vec<u8>) -> Result<(StoredEvent, bool)> {
    let position = position(row, 0)?.ok_or_else(|| Failure::corrupt(0, "an event has position 0"))?;
    // A value of the wrong kind, or none, in a row of ours is damage.
    let event = decode_at(position, row)
        .map_err(|error| Failure::corrupt(position.get(), format!("a column cannot be understood: {error}")))?
        .ok_or_else(|| Failure::corrupt(position.get(), "one of its columns does not decode"))?;
    Content::from(&event).encode(buffer);
    let stored: &[u8] = row.try_get(19)?;
    let fits = checksum(crc32fast::hash(buffer), &event) == *stored;
    Ok((event, fits))
}

fn decode_at(position: Position, row: &Row) -> std::result::Result<Option<StoredEvent>, tokio_postgres::Error> {
    let command_id = CommandId(row.try_get(8)?);
    let or_command =
        |column| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<Uuid>>(column)?.unwrap_or(command_id.0));
    let event_id = match row.try_get::<_, Option<Uuid>>(11)? {
        Some(stored) => EventId(stored),
        None => EventId::derived(command_id, row.try_get::<_, i32>(10)?.cast_unsigned()),
    };
    let name = |column| Ok::<_, tokio_postgres::Error>(text::restore(row.try_get(column)?));
    let time = |column| Ok::<_, tokio_postgres::Error>(Timestamp::from_microsecond(row.try_get(column)?).ok());
    let (Some(version), Some(decided_at), Some(recorded_at), Some((trace, tracestate)), Some(hash)) = (
        StreamVersion::new(row.try_get::<_, i64>(5)?.cast_unsigned()),
        time(13)?,
        time(17)?,
        decode_trace(row.try_get(16)?, command_id),
        Hash::from_slice(row.try_get(18)?),
    ) else {
        return Ok(None);
    };
    Ok(Some(StoredEvent {
        position,
        epoch: EpochId(row.try_get(1)?),
        event_id,
        stream: StreamId { tenant: Tenant::new(&name(2)?), aggregate: name(3)?.into(), id: name(4)?.into() },
        version,
        event_type: EventType { name: name(6)?.into(), version: row.try_get::<_, i32>(7)?.cast_unsigned() },
        command_id,
        command_events: row.try_get::<_, i32>(9)?.cast_unsigned(),
        payload: Bytes::copy_from_slice(row.try_get(20)?),
        metadata: Metadata {
            principal: Principal::new(&name(12)?),
            time: decided_at,
            correlation: or_command(14)?,
            causation: or_command(15)?,
            trace,
            tracestate,
        },
        recorded_at,
        hash,
    }))
}

/// As PostgreSQL stores it. Nothing counts far enough to become negative.
pub(super) fn number(counted: u64) -> i64 {
    counted.cast_signed()
}

/// A position; `None` where there is 0 or NULL.
pub(super) fn position(row: &Row, column: usize) -> Result<Option<Position>> {
    Ok(Position::new(counted(row, column)?))
}

/// What counts from one; 0 where there is NULL.
pub(super) fn counted(row: &Row, column: usize) -> Result<u64> {
    Ok(row.try_get::<_, Option<i64>>(column)?.unwrap_or_default().cast_unsigned())
}

/// Of fixed length.
pub(super) fn hash(row: &Row, column: usize) -> Result<Hash> {
    Hash::from_slice(row.try_get(column)?).ok_or_else(|| Failure::corrupt(0, "a hash has not 32 bytes"))
}

const SAMPLED: u8 = 1;
const HAS_STATE: u8 = 8;

/// Nothing for the trace that is named like the command; else flags, id, parent, and the tracestate to the end.
pub(super) fn encode_trace(metadata: &Metadata, command: CommandId) -> Option<Vec<u8>> {
    let Metadata { trace, tracestate, .. } = metadata;
    let plain = TraceContext { trace_id: command.0.as_u128(), parent_id: 0, sampled: false };
    if *trace == plain && tracestate.is_none() {
        return None;
    }
    let flags = if trace.sampled { SAMPLED } else { 0 } | if tracestate.is_some() { HAS_STATE } else { 0 };
    let mut bytes = vec![flags];
    bytes.extend_from_slice(&trace.trace_id.to_be_bytes());
    bytes.extend_from_slice(&trace.parent_id.to_be_bytes());
    bytes.extend_from_slice(tracestate.as_deref().unwrap_or_default().as_bytes());
    Some(bytes)
}

fn decode_trace(bytes: Option<&[u8]>, command: CommandId) -> Option<(TraceContext, Option<Arc<str>>)> {
    let Some(bytes) = bytes else {
        return Some((TraceContext { trace_id: command.0.as_u128(), parent_id: 0, sampled: false }, None));
    };
    let (flags, rest) = bytes.split_first()?;
    let (trace_id, rest) = rest.split_first_chunk()?;
    let (parent_id, state) = rest.split_first_chunk()?;
    let trace = TraceContext {
        trace_id: u128::from_be_bytes(*trace_id),
        parent_id: u64::from_be_bytes(*parent_id),
        sampled: flags & SAMPLED != 0,
    };
    let state = if flags & HAS_STATE != 0 { Some(std::str::from_utf8(state).ok()?.into()) } else { None };
    Some((trace, state))
}

/// A value that has to be there.
pub(super) fn value<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    Ok(row.try_get(column)?)
}
