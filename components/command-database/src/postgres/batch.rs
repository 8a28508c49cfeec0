//! A batch as the arrays that the server's function takes, and its answer as outcomes.

use std::collections::BTreeMap;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use model::{CommandId, EpochId, Hash, StreamId, StreamVersion};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{
    failure::{Failure, Result},
    foresight::{End, Foreseen},
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

/// Names are sent once, in the order of their bytes.
#[derive(Default)]
pub(super) struct Batch<'a> {
    tenants: Texts<'a>,
    aggregates: Texts<'a>,
    ids: Texts<'a>,
    commands: Commands<'a>,
    events: Events<'a>,
}

#[derive(Default)]
struct Commands<'a> {
    ids: Vec<Uuid>,
    streams: Vec<i32>,
    expected: Vec<Option<i64>>,
    events: Vec<i32>,
    keys: Vec<Option<&'a [u8]>>,
    /// The first command that has the same key.
    first_keys: Vec<Option<i32>>,
    fingerprints: Vec<Option<&'a [u8]>>,
    refusals: Vec<Option<&'a [u8]>>,
}

#[derive(Default)]
struct Events<'a> {
    streams: Vec<i32>,
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
        // The server's arrays count from one.
        (1..).zip(streams.values_mut()).for_each(|(ordinal, stream)| *stream = ordinal);
        let mut keys = HashMap::new();
        let mut batch = Self::default();
        for stream in streams.keys() {
            batch.tenants.push(text::store(stream.tenant.as_str()));
            batch.aggregates.push(text::store(&stream.aggregate));
            batch.ids.push(text::store(&stream.id));
        }
        for (ordinal, (append, contents)) in (1..).zip(prepared.commands()) {
            let stream = streams.get(&append.stream).copied().unwrap_or_default();
            let key = append.idempotency.as_ref().map(|idempotency| &idempotency.key.0[..]);
            let first = key.map(|key| *keys.entry(key).or_insert(ordinal));
            batch.commands.push(append, stream, key, first);
            batch.events.push(append, stream, contents);
        }
        batch
    }

    /// How many streams there are.
    pub(super) fn streams(&self) -> usize {
        self.ids.len()
    }

    /// Which of the streams is that of a command.
    pub(super) fn stream_of(&self, command: usize) -> usize {
        self.commands.streams[command] as usize - 1
    }

    /// The version that a command expects its stream to have; `None` for any.
    pub(super) fn expected_of(&self, command: usize) -> Option<i64> {
        self.commands.expected[command]
    }

    /// Whether a command has the same key as one before it.
    pub(super) fn repeats_a_key(&self, command: usize) -> bool {
        self.commands.first_keys[command].is_some_and(|first| first as usize != command + 1)
    }

    /// In the order of the function's parameters.
    pub(super) fn parameters<'b>(&'b self, moment: &'b Moment, foreseen: &'b Foreseen) -> [&'b (dyn ToSql + Sync); 43] {
        let Self { tenants, aggregates, ids, commands, events } = self;
        [
            &moment.seen.0,
            &moment.seen.1,
            &moment.fresh_epoch,
            &moment.now,
            &moment.elapsed,
            &foreseen.epoch,
            &foreseen.last_hash,
            tenants,
            aggregates,
            ids,
            &foreseen.before,
            &foreseen.numbers,
            &foreseen.begins,
            &commands.ids,
            &commands.streams,
            &commands.expected,
            &commands.events,
            &commands.keys,
            &commands.first_keys,
            &commands.fingerprints,
            &commands.refusals,
            &foreseen.firsts,
            &foreseen.versions,
            &foreseen.heads,
            &foreseen.records,
            &events.streams,
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
            &foreseen.positions,
            &foreseen.event_versions,
            &foreseen.hashes,
            &foreseen.checksums,
        ]
    }
}

pub(super) const APPEND: &str = "SELECT * FROM diptych.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
    $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, \
    $40, $41, $42, $43)";

impl<'a> Commands<'a> {
    fn push(&mut self, append: &'a Append, stream: i32, key: Option<&'a [u8]>, first: Option<i32>) {
        self.ids.push(append.command_id.0);
        self.streams.push(stream);
        self.expected.push(match append.expected {
            ExpectedVersion::Any => None,
            ExpectedVersion::NoStream => Some(0),
            ExpectedVersion::Exactly(version) => Some(number(version.get())),
        });
        self.events.push(append.events().len() as i32);
        self.keys.push(key);
        self.first_keys.push(first);
        self.fingerprints.push(append.idempotency.as_ref().map(|idempotency| &idempotency.fingerprint.0[..]));
        self.refusals.push(refusal(append));
    }
}

/// The refusal that a command's key is to remember.
pub(super) fn refusal(append: &Append) -> Option<&[u8]> {
    match &append.decision {
        Decision::Refused(reason) => Some(reason),
        Decision::Accepted(_) => None,
    }
}

impl<'a> Events<'a> {
    fn push(&mut self, append: &'a Append, stream: i32, contents: &'a [Digested]) {
        let metadata = &append.metadata;
        let command = append.command_id;
        let unlike_command = |id: Uuid| (id != command.0).then_some(id);
        for ((index, event), content) in (0..).zip(append.events()).zip(contents) {
            self.streams.push(stream);
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
const FORESEEN: i32 = 3;

/// Whether all is as it was foreseen; then it is the only row, and says which numbers the streams have.
pub(super) fn foreseen_numbers(row: &Row) -> Result<Option<Vec<Option<i64>>>> {
    let is_foreseen = value::<i32>(row, 0)? == FORESEEN;
    is_foreseen.then(|| value(row, 17)).transpose()
}

/// The end of the log after the batch, by the first row of an answer.
pub(super) fn end(row: &Row) -> Result<End> {
    Ok(End::new(value(row, 13)?, row::hash(row, 14)?, value(row, 15)?, EpochId(value(row, 4)?), value(row, 16)?))
}

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
    let columns = RecordColumns {
        first: value(row, from + 2)?,
        events: value(row, from + 3)?,
        version: value(row, from + 4)?,
        head: value(row, from + 5)?,
        refusal: value(row, from + 6)?,
    };
    let fits = columns.checksum(key, &record.fingerprint, record.command_id) == *stored;
    Ok((record, fits))
}

/// What came of a command, in the columns of its record.
pub(super) struct RecordColumns<'a> {
    pub(super) first: Option<i64>,
    pub(super) events: i32,
    pub(super) version: Option<i64>,
    pub(super) head: Option<i64>,
    pub(super) refusal: Option<&'a [u8]>,
}

impl RecordColumns<'_> {
    /// As the server computes it: over the columns, whatever the decision.
    pub(super) fn checksum(&self, key: &Hash, fingerprint: &Hash, command: CommandId) -> [u8; 4] {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&key.0);
        bytes.extend_from_slice(&fingerprint.0);
        bytes.extend_from_slice(command.0.as_bytes());
        bytes.extend_from_slice(&self.first.unwrap_or_default().to_be_bytes());
        bytes.extend_from_slice(&self.events.to_be_bytes());
        bytes.extend_from_slice(&self.version.unwrap_or_default().to_be_bytes());
        bytes.extend_from_slice(&self.head.unwrap_or_default().to_be_bytes());
        match self.refusal {
            Some(reason) => {
                bytes.push(1);
                bytes.extend_from_slice(reason);
            }
            None => bytes.push(0),
        }
        row::short(&Hash::of(&bytes))
    }
}
