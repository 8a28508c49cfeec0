//! What is copied, as the arrays that the server's functions take.

use std::{borrow::Cow, collections::BTreeMap};

use model::{EventId, Position, StreamId, StreamVersion};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{
    row::{self, number},
    text,
};
use crate::{CopiedEvent, CopiedRecord, StoredDecision, chain::Content};

/// Records.
#[derive(Default)]
pub(super) struct Records<'a> {
    keys: Vec<&'a [u8]>,
    fingerprints: Vec<&'a [u8]>,
    commands: Vec<Uuid>,
    firsts: Vec<Option<i64>>,
    events: Vec<i32>,
    versions: Vec<Option<i64>>,
    heads: Vec<Option<i64>>,
    refusals: Vec<Option<&'a [u8]>>,
    elapsed: Vec<i64>,
}

impl<'a> Records<'a> {
    pub(super) fn of(records: &'a [CopiedRecord]) -> Self {
        let mut columns = Self::default();
        for CopiedRecord { key, record, elapsed } in records {
            let at = |position: Option<Position>| position.map(|position| number(position.get()));
            let (first, events, version, head, refusal) = match &record.decision {
                StoredDecision::Accepted { first, events, version, head } => {
                    let version = version.map(|version| number(version.get()));
                    (at(*first), events.cast_signed(), version, at(*head), None)
                }
                StoredDecision::Refused(reason) => (None, 0, None, None, Some(&reason[..])),
            };
            columns.keys.push(&key.0);
            columns.fingerprints.push(&record.fingerprint.0);
            columns.commands.push(record.command_id.0);
            columns.firsts.push(first);
            columns.events.push(events);
            columns.versions.push(version);
            columns.heads.push(head);
            columns.refusals.push(refusal);
            columns.elapsed.push(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX));
        }
        columns
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 9] {
        let Self { keys, fingerprints, commands, firsts, events, versions, heads, refusals, elapsed } = self;
        [keys, fingerprints, commands, firsts, events, versions, heads, refusals, elapsed]
    }
}

type Texts<'a> = Vec<Cow<'a, str>>;

/// Events: first their streams, each once, in the order of their first event.
#[derive(Default)]
pub(super) struct Events<'a> {
    after: i64,
    tenants: Texts<'a>,
    aggregates: Texts<'a>,
    ids: Texts<'a>,
    last_versions: Vec<i64>,
    positions: Vec<i64>,
    streams: Vec<i32>,
    versions: Vec<i64>,
    recorded: Vec<i64>,
    decided: Vec<i64>,
    type_versions: Vec<i32>,
    command_events: Vec<i32>,
    command_indexes: Vec<i32>,
    commands: Vec<Uuid>,
    event_ids: Vec<Option<Uuid>>,
    correlations: Vec<Option<Uuid>>,
    causations: Vec<Option<Uuid>>,
    hashes: Vec<&'a [u8]>,
    checksums: Vec<Vec<u8>>,
    types: Texts<'a>,
    principals: Texts<'a>,
    traces: Vec<Option<Vec<u8>>>,
    payloads: Vec<&'a [u8]>,
}

impl<'a> Events<'a> {
    pub(super) fn of(events: &'a [CopiedEvent]) -> Self {
        let after = events.first().map_or(0, |first| number(first.event.position.get() - 1));
        let mut columns = Self { after, ..Self::default() };
        let (mut streams, mut buffer) = (BTreeMap::new(), Vec::new());
        for copied in events {
            let stream = columns.stream(&mut streams, &copied.event.stream, copied.event.version);
            columns.push(copied, stream, &mut buffer);
        }
        columns
    }

    /// The stream's ordinal. The server's arrays count from one.
    fn stream(&mut self, known: &mut BTreeMap<&'a StreamId, usize>, id: &'a StreamId, version: StreamVersion) -> i32 {
        let place = *known.entry(id).or_insert_with(|| {
            self.tenants.push(text::store(id.tenant.as_str()));
            self.aggregates.push(text::store(&id.aggregate));
            self.ids.push(text::store(&id.id));
            self.last_versions.push(0);
            self.ids.len() - 1
        });
        self.last_versions[place] = number(version.get());
        i32::try_from(place + 1).unwrap_or(i32::MAX)
    }

    fn push(&mut self, CopiedEvent { event, command_index }: &'a CopiedEvent, stream: i32, buffer: &mut Vec<u8>) {
        let command = event.command_id;
        let unlike_command = |id: Uuid| (id != command.0).then_some(id);
        let is_derived = event.event_id == EventId::derived(command, *command_index);
        Content::from(event).encode(buffer);
        self.positions.push(number(event.position.get()));
        self.streams.push(stream);
        self.versions.push(number(event.version.get()));
        self.recorded.push(event.recorded_at.as_microsecond());
        self.decided.push(event.metadata.time.as_microsecond());
        self.type_versions.push(event.event_type.version.cast_signed());
        self.command_events.push(event.command_events.cast_signed());
        self.command_indexes.push(command_index.cast_signed());
        self.commands.push(command.0);
        self.event_ids.push((!is_derived).then_some(event.event_id.0));
        self.correlations.push(unlike_command(event.metadata.correlation));
        self.causations.push(unlike_command(event.metadata.causation));
        self.hashes.push(&event.hash.0);
        self.checksums.push(row::checksum(crc32fast::hash(buffer), event).to_vec());
        self.types.push(text::store(&event.event_type.name));
        self.principals.push(text::store(event.metadata.principal.as_str()));
        self.traces.push(row::encode_trace(&event.metadata, command));
        self.payloads.push(&event.payload);
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 23] {
        [
            &self.after,
            &self.tenants,
            &self.aggregates,
            &self.ids,
            &self.last_versions,
            &self.positions,
            &self.streams,
            &self.versions,
            &self.recorded,
            &self.decided,
            &self.type_versions,
            &self.command_events,
            &self.command_indexes,
            &self.commands,
            &self.event_ids,
            &self.correlations,
            &self.causations,
            &self.hashes,
            &self.checksums,
            &self.types,
            &self.principals,
            &self.traces,
            &self.payloads,
        ]
    }
}
