//! A batch as the arrays that the server's function takes, and its answer as outcomes.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{CommandId, EpochId, Hash, Position, StreamId, StreamVersion};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{
    failure::{Failure, Result},
    row::{self, counted, number, position, value},
    text,
};
use crate::{
    Append, Decision, ExpectedVersion, IdempotencyRecord, Outcome, StoredDecision,
    chain::{Digested, Prepared},
};

/// Of the function's parameters, those that come before the arrays.
pub(super) struct Moment {
    pub(super) seen: (Option<Uuid>, i64),
    pub(super) fresh_epoch: Uuid,
    /// Wall clock, in microseconds since 1970.
    pub(super) now: i64,
    /// The log's own clock.
    pub(super) elapsed: i64,
}

type Texts<'a> = Vec<std::borrow::Cow<'a, str>>;

/// Names and keys are sent once, in the order of their bytes.
#[derive(Default)]
pub(super) struct Batch<'a> {
    tenants: Texts<'a>,
    aggregates: Texts<'a>,
    ids: Texts<'a>,
    keys: Vec<&'a [u8]>,
    commands: Commands<'a>,
    events: Events<'a>,
}

#[derive(Default)]
struct Commands<'a> {
    ids: Vec<Uuid>,
    streams: Vec<i32>,
    expected: Vec<Option<i64>>,
    events: Vec<i32>,
    keys: Vec<Option<i32>>,
    fingerprints: Vec<Option<&'a [u8]>>,
    refusals: Vec<Option<&'a [u8]>>,
}

#[derive(Default)]
struct Events<'a> {
    types: Texts<'a>,
    type_versions: Vec<i32>,
    commands: Vec<Uuid>,
    command_events: Vec<i32>,
    command_indexes: Vec<i32>,
    principals: Texts<'a>,
    decided: Vec<i64>,
    correlations: Vec<Option<Uuid>>,
    causations: Vec<Option<Uuid>>,
    traces: Vec<Option<Vec<u8>>>,
    digests: Vec<&'a [u8]>,
    checksums: Vec<i32>,
    payloads: Vec<&'a [u8]>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(prepared: &'a Prepared) -> Self {
        let mut streams: BTreeMap<&StreamId, i32> = prepared.appends().map(|append| (&append.stream, 0)).collect();
        let mut keys: BTreeMap<&[u8], i32> =
            prepared.appends().filter_map(|append| Some((&append.idempotency.as_ref()?.key.0[..], 0))).collect();
        // The server's arrays count from one.
        (1..).zip(streams.values_mut()).for_each(|(ordinal, stream)| *stream = ordinal);
        (1..).zip(keys.values_mut()).for_each(|(ordinal, key)| *key = ordinal);
        let mut batch = Self { keys: keys.keys().copied().collect(), ..Self::default() };
        for stream in streams.keys() {
            batch.tenants.push(text::store(stream.tenant.as_str()));
            batch.aggregates.push(text::store(&stream.aggregate));
            batch.ids.push(text::store(&stream.id));
        }
        for (append, contents) in prepared.commands() {
            let stream = streams.get(&append.stream).copied().unwrap_or_default();
            let key = append.idempotency.as_ref().and_then(|idempotency| keys.get(&idempotency.key.0[..]).copied());
            batch.commands.push(append, stream, key);
            batch.events.push(append, contents);
        }
        batch
    }

    /// In the order of the function's parameters.
    pub(super) fn parameters<'b>(&'b self, moment: &'b Moment) -> [&'b (dyn ToSql + Sync); 29] {
        let Self { tenants, aggregates, ids, keys, commands, events } = self;
        [
            &moment.seen.0,
            &moment.seen.1,
            &moment.fresh_epoch,
            &moment.now,
            &moment.elapsed,
            tenants,
            aggregates,
            ids,
            keys,
            &commands.ids,
            &commands.streams,
            &commands.expected,
            &commands.events,
            &commands.keys,
            &commands.fingerprints,
            &commands.refusals,
            &events.types,
            &events.type_versions,
            &events.commands,
            &events.command_events,
            &events.command_indexes,
            &events.principals,
            &events.decided,
            &events.correlations,
            &events.causations,
            &events.traces,
            &events.digests,
            &events.checksums,
            &events.payloads,
        ]
    }
}

pub(super) const APPEND: &str = "SELECT * FROM diptych.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
    $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29)";

impl<'a> Commands<'a> {
    fn push(&mut self, append: &'a Append, stream: i32, key: Option<i32>) {
        self.ids.push(append.command_id.0);
        self.streams.push(stream);
        self.expected.push(match append.expected {
            ExpectedVersion::Any => None,
            ExpectedVersion::NoStream => Some(0),
            ExpectedVersion::Exactly(version) => Some(number(version.get())),
        });
        self.events.push(append.events().len() as i32);
        self.keys.push(key);
        self.fingerprints.push(append.idempotency.as_ref().map(|idempotency| &idempotency.fingerprint.0[..]));
        self.refusals.push(match &append.decision {
            Decision::Refused(reason) => Some(reason),
            Decision::Accepted(_) => None,
        });
    }
}

impl<'a> Events<'a> {
    fn push(&mut self, append: &'a Append, contents: &'a [Digested]) {
        let metadata = &append.metadata;
        let command = append.command_id;
        let unlike_command = |id: Uuid| (id != command.0).then_some(id);
        for ((index, event), content) in (0..).zip(append.events()).zip(contents) {
            self.types.push(text::store(&event.event_type.name));
            self.type_versions.push(event.event_type.version.cast_signed());
            self.commands.push(command.0);
            self.command_events.push(contents.len() as i32);
            self.command_indexes.push(index);
            self.principals.push(text::store(metadata.principal.as_str()));
            self.decided.push(metadata.time.as_microsecond());
            self.correlations.push(unlike_command(metadata.correlation));
            self.causations.push(unlike_command(metadata.causation));
            self.traces.push(row::encode_trace(metadata, command));
            self.digests.push(&content.digest.0);
            self.checksums.push(content.checksum.cast_signed());
            self.payloads.push(&event.payload);
        }
    }
}

const COMMITTED: i32 = 0;
const CONFLICT: i32 = 1;

/// What became of `append`.
pub(super) fn outcome(row: &Row, append: &Append) -> Result<Outcome> {
    let version = || Ok::<_, Failure>(StreamVersion::new(counted(row, 2)?));
    match value(row, 0)? {
        COMMITTED => {
            let epoch = EpochId(value(row, 4)?);
            Ok(Outcome::Committed { first: position(row, 1)?, version: version()?, head: position(row, 3)?, epoch })
        }
        CONFLICT => Ok(Outcome::VersionConflict { current: version()? }),
        _ => {
            let idempotency =
                append.idempotency.ok_or_else(|| Failure::corrupt(0, "a key is taken that was not sent"))?;
            let record = record(row, 5, &idempotency.key)?;
            let same = record.fingerprint == idempotency.fingerprint;
            Ok(if same { Outcome::Replayed(record) } else { Outcome::KeyReused })
        }
    }
}

/// The record of `key` in the columns from `from` on; refused when it does not fit its checksum.
pub(super) fn record(row: &Row, from: usize, key: &Hash) -> Result<IdempotencyRecord> {
    match unchecked_record(row, from, key)? {
        (record, true) => Ok(record),
        (_, false) => Err(Failure::corrupt(0, format!("the idempotency record {key} does not fit its checksum"))),
    }
}

/// As [`record`], but says whether it fits its checksum instead of refusing it.
pub(super) fn unchecked_record(row: &Row, from: usize, key: &Hash) -> Result<(IdempotencyRecord, bool)> {
    let decision = match value::<Option<&[u8]>>(row, from + 6)? {
        Some(refusal) => StoredDecision::Refused(Bytes::copy_from_slice(refusal)),
        None => StoredDecision::Accepted {
            first: position(row, from + 2)?,
            events: value::<i32>(row, from + 3)?.cast_unsigned(),
            version: StreamVersion::new(counted(row, from + 4)?),
            head: position(row, from + 5)?,
        },
    };
    let command_id = CommandId(value(row, from + 1)?);
    let record = IdempotencyRecord { fingerprint: row::hash(row, from)?, command_id, decision };
    let stored: &[u8] = value(row, from + 7)?;
    let fits = checksum(row, from, key, &record)? == *stored;
    Ok((record, fits))
}

/// As the server computes it: over the columns, whatever the decision.
fn checksum(row: &Row, from: usize, key: &Hash, record: &IdempotencyRecord) -> Result<[u8; 4]> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&key.0);
    bytes.extend_from_slice(&record.fingerprint.0);
    bytes.extend_from_slice(record.command_id.0.as_bytes());
    bytes.extend_from_slice(&Position::count(position(row, from + 2)?).to_be_bytes());
    bytes.extend_from_slice(&value::<i32>(row, from + 3)?.to_be_bytes());
    bytes.extend_from_slice(&counted(row, from + 4)?.to_be_bytes());
    bytes.extend_from_slice(&counted(row, from + 5)?.to_be_bytes());
    match &record.decision {
        StoredDecision::Refused(reason) => {
            bytes.push(1);
            bytes.extend_from_slice(reason);
        }
        StoredDecision::Accepted { .. } => bytes.push(0),
    }
    Ok(row::short(&Hash::of(&bytes)))
}
