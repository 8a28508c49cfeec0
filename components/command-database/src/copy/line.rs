//! One line of a backup: a JSON object. Hashes and trace ids are in hexadecimal, times in microseconds since 1970, positions
//! count from 1. [ADR 0020](../../../../docs/adr/0020-a-copy-is-whole-before-its-source-is-sealed.md) describes them.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Lineage, Metadata, Position, Principal, StoredEvent, StreamId,
    StreamVersion, Tenant, TraceContext,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Contents, CopiedEpoch, CopiedEvent, CopiedRecord};
use crate::{IdempotencyRecord, StoredDecision};

/// Of the lines below.
pub(super) const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// The first one.
    Backup(Header),
    Record(#[serde(borrow)] Record<'a>),
    Event(#[serde(borrow)] Box<Event<'a>>),
    /// The last one.
    End(Trailer),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    /// Whose log it is.
    pub(super) application: String,
    epochs: Vec<Epoch>,
    /// 0 for an empty log.
    head: u64,
    hash: String,
    clock_microseconds: u64,
    relayed: Option<Position>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Epoch {
    id: Uuid,
    first: Position,
    began: i64,
}

/// What the lines before it have to come to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer {
    pub(super) records: u64,
    pub(super) events: u64,
    /// Of each line: SHA-256 over that of the line before and its own bytes; of the last one here.
    pub(super) lines: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record<'a> {
    key: Cow<'a, str>,
    fingerprint: Cow<'a, str>,
    command: Uuid,
    #[serde(borrow)]
    decision: Decision<'a>,
    clock_microseconds: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Decision<'a> {
    Accepted { first: Option<Position>, events: u32, version: Option<StreamVersion>, head: Option<Position> },
    Refused(#[serde(borrow)] Octets<'a>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event<'a> {
    position: Position,
    event: Uuid,
    tenant: Cow<'a, str>,
    aggregate: Cow<'a, str>,
    id: Cow<'a, str>,
    version: StreamVersion,
    #[serde(rename = "type")]
    event_type: Cow<'a, str>,
    type_version: u32,
    command: Uuid,
    command_events: u32,
    command_index: u32,
    principal: Cow<'a, str>,
    decided: i64,
    correlation: Uuid,
    causation: Uuid,
    trace: Cow<'a, str>,
    parent: Cow<'a, str>,
    sampled: bool,
    tracestate: Option<Cow<'a, str>>,
    recorded: i64,
    hash: Cow<'a, str>,
    #[serde(borrow)]
    payload: Octets<'a>,
}

/// Bytes: a text where they are one, which JSON nearly always is.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Octets<'a> {
    Text(Cow<'a, str>),
    Base64(String),
}

impl<'a> Octets<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(text.into_owned().into()),
            Self::Base64(text) => STANDARD.decode(text).ok().map(Bytes::from),
        }
    }
}

fn hash(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    let digits = text.as_bytes();
    if digits.len() != 2 * hash.0.len() {
        return None;
    }
    for (byte, pair) in hash.0.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

fn microseconds(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Header {
    pub(super) fn of(contents: &Contents, application: &str) -> Self {
        let epoch = |epoch: &CopiedEpoch| Epoch { id: epoch.id.0, first: epoch.first, began: epoch.began };
        Self {
            format: FORMAT,
            application: application.to_owned(),
            epochs: contents.epochs.iter().map(epoch).collect(),
            head: Position::count(contents.head),
            hash: contents.hash.to_string(),
            clock_microseconds: microseconds(contents.clock),
            relayed: contents.relayed,
        }
    }

    pub(super) fn contents(&self) -> Option<Contents> {
        let epoch = |epoch: &Epoch| CopiedEpoch { id: EpochId(epoch.id), first: epoch.first, began: epoch.began };
        Some(Contents {
            epochs: self.epochs.iter().map(epoch).collect(),
            head: Position::new(self.head),
            hash: hash(&self.hash)?,
            clock: std::time::Duration::from_micros(self.clock_microseconds),
            relayed: self.relayed,
        })
    }
}

impl<'a> Record<'a> {
    pub(super) fn of(copied: &'a CopiedRecord) -> Self {
        let decision = match &copied.record.decision {
            StoredDecision::Accepted { first, events, version, head } => {
                Decision::Accepted { first: *first, events: *events, version: *version, head: *head }
            }
            StoredDecision::Refused(reason) => Decision::Refused(Octets::of(reason)),
        };
        Self {
            key: copied.key.to_string().into(),
            fingerprint: copied.record.fingerprint.to_string().into(),
            command: copied.record.command_id.0,
            decision,
            clock_microseconds: microseconds(copied.elapsed),
        }
    }

    pub(super) fn copied(self) -> Option<CopiedRecord> {
        let decision = match self.decision {
            Decision::Accepted { first, events, version, head } => {
                StoredDecision::Accepted { first, events, version, head }
            }
            Decision::Refused(reason) => StoredDecision::Refused(reason.bytes()?),
        };
        let (fingerprint, command_id) = (hash(&self.fingerprint)?, CommandId(self.command));
        Some(CopiedRecord {
            key: hash(&self.key)?,
            record: IdempotencyRecord { fingerprint, command_id, decision },
            elapsed: std::time::Duration::from_micros(self.clock_microseconds),
        })
    }
}

impl<'a> Event<'a> {
    pub(super) fn of(CopiedEvent { event, command_index }: &'a CopiedEvent) -> Self {
        let Metadata { principal, time, correlation, causation, trace, tracestate } = &event.metadata;
        Self {
            position: event.position,
            event: event.event_id.0,
            tenant: event.stream.tenant.as_str().into(),
            aggregate: (&*event.stream.aggregate).into(),
            id: (&*event.stream.id).into(),
            version: event.version,
            event_type: (&*event.event_type.name).into(),
            type_version: event.event_type.version,
            command: event.command_id.0,
            command_events: event.command_events,
            command_index: *command_index,
            principal: principal.as_str().into(),
            decided: time.as_microsecond(),
            correlation: *correlation,
            causation: *causation,
            trace: format!("{:032x}", trace.trace_id).into(),
            parent: format!("{:016x}", trace.parent_id).into(),
            sampled: trace.sampled,
            tracestate: tracestate.as_deref().map(Cow::Borrowed),
            recorded: event.recorded_at.as_microsecond(),
            hash: event.hash.to_string().into(),
            payload: Octets::of(&event.payload),
        }
    }

    pub(super) fn copied(self, lineage: &Lineage) -> Option<CopiedEvent> {
        let time = |microseconds| Timestamp::from_microsecond(microseconds).ok();
        let stream = StreamId {
            tenant: Tenant::new(&self.tenant),
            aggregate: (&*self.aggregate).into(),
            id: (&*self.id).into(),
        };
        let metadata = Metadata {
            principal: Principal::new(&self.principal),
            time: time(self.decided)?,
            correlation: self.correlation,
            causation: self.causation,
            trace: TraceContext {
                trace_id: u128::from_str_radix(&self.trace, 16).ok()?,
                parent_id: u64::from_str_radix(&self.parent, 16).ok()?,
                sampled: self.sampled,
            },
            tracestate: self.tracestate.as_deref().map(Into::into),
        };
        let event = StoredEvent {
            position: self.position,
            epoch: lineage.epoch_of(self.position)?,
            event_id: EventId(self.event),
            stream,
            version: self.version,
            event_type: EventType { name: (&*self.event_type).into(), version: self.type_version },
            command_id: CommandId(self.command),
            command_events: self.command_events,
            payload: self.payload.bytes()?,
            metadata,
            recorded_at: time(self.recorded)?,
            hash: hash(&self.hash)?,
        };
        Some(CopiedEvent { event, command_index: self.command_index })
    }
}
