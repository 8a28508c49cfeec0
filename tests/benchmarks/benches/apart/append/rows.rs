//! The rows that an append leaves, taken from a log, and the statements that insert them bare.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use tokio_postgres::{Client, Row, Statement, types::ToSql};
use uuid::Uuid;

/// What the log's function and its sessions have set: the same plans by the same indexes, none of them made anew.
pub(super) const SESSION: &str = "SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan";

/// Tables like the log's, with their keys, checks, indexes and fill, and without their triggers; and a head.
pub(super) const TABLES: &str = "CREATE SCHEMA bare;
    DO $$
    DECLARE
        name text;
        options text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['event_rows', 'stream_names', 'idempotency', 'log_head'] LOOP
            EXECUTE format('CREATE TABLE bare.%I (LIKE diptych.%I INCLUDING ALL)', name, name);
            SELECT array_to_string(c.reloptions, ', ') INTO options
            FROM pg_class c WHERE c.oid = format('diptych.%I', name)::regclass;
            IF options IS NOT NULL THEN
                EXECUTE format('ALTER TABLE bare.%I SET (%s)', name, options);
            END IF;
        END LOOP;
    END
    $$;
    INSERT INTO bare.log_head SELECT * FROM diptych.log_head;
    UPDATE bare.log_head SET position = 0, streams = 0";

/// Arrays in the list and not in `FROM`: rows come as they are inserted, and are not all put down before.
const INSERT_EVENTS: &str = "INSERT INTO bare.event_rows (position, stream, version, recorded_at, decided_at, type_version,
        command_events, command_index, command_id, correlation, causation, hash, checksum, type, principal, trace, payload)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::bigint[]),
        unnest($5::bigint[]), unnest($6::integer[]), unnest($7::integer[]), unnest($8::integer[]),
        unnest($9::uuid[]), unnest($10::uuid[]), unnest($11::uuid[]), unnest($12::bytea[]),
        unnest($13::bytea[]), unnest($14::text[]), unnest($15::text[]), unnest($16::bytea[]),
        unnest($17::bytea[])";
const INSERT_STREAMS: &str = "INSERT INTO bare.stream_names (stream, tenant, aggregate, id)
    SELECT unnest($1::bigint[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[])";
const INSERT_KEYS: &str =
    "INSERT INTO bare.idempotency (key, fingerprint, command_id, first, events, version, head, refusal,
        elapsed, checksum)
    SELECT unnest($1::bytea[]), unnest($2::bytea[]), unnest($3::uuid[]), unnest($4::bigint[]),
        unnest($5::integer[]), unnest($6::bigint[]), unnest($7::bigint[]), unnest($8::bytea[]),
        unnest($9::bigint[]), unnest($10::bytea[])";
const MOVE_HEAD: &str = "UPDATE bare.log_head SET position = $1, hash = $2, recorded_at = $3, streams = $4";

/// The rows of all batches.
pub(super) struct Rows {
    pub(super) batches: Vec<Batch>,
}

/// What one batch leaves.
#[derive(Default)]
pub(super) struct Batch {
    events: Events,
    begun: Streams,
    keys: Keys,
    head: (i64, Vec<u8>, i64, i64),
}

#[derive(Default)]
struct Events {
    places: [Vec<i64>; 5],
    numbers: [Vec<i32>; 3],
    commands: Vec<Uuid>,
    others: [Vec<Option<Uuid>>; 2],
    digests: [Vec<Vec<u8>>; 2],
    texts: [Vec<String>; 2],
    traces: Vec<Option<Vec<u8>>>,
    payloads: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Streams {
    numbers: Vec<i64>,
    names: [Vec<String>; 3],
}

#[derive(Default)]
struct Keys {
    keys: Vec<Vec<u8>>,
    fingerprints: Vec<Vec<u8>>,
    commands: Vec<Uuid>,
    firsts: Vec<Option<i64>>,
    events: Vec<i32>,
    versions: Vec<Option<i64>>,
    heads: Vec<Option<i64>>,
    refusals: Vec<Option<Vec<u8>>>,
    elapsed: Vec<i64>,
    checksums: Vec<Vec<u8>>,
}

impl Rows {
    /// Of a log to which batches of so many events were appended, each event a command with a key.
    pub(super) async fn read(client: &Client, batch: usize) -> Self {
        let read = async |statement: &str| client.query(statement, &[]).await.expect("read");
        let events = read("SELECT * FROM diptych.event_rows ORDER BY position").await;
        let keys = read("SELECT * FROM diptych.idempotency ORDER BY first").await;
        let names: BTreeMap<i64, [String; 3]> = read("SELECT stream, tenant, aggregate, id FROM diptych.stream_names")
            .await
            .iter()
            .map(|row| (row.get(0), [row.get(1), row.get(2), row.get(3)]))
            .collect();
        assert_eq!(events.len(), keys.len(), "each event is a command with a key");
        let mut streams = 0;
        let batches = events.chunks(batch).zip(keys.chunks(batch)).map(|(events, keys)| {
            let mut batch = Batch::default();
            events.iter().for_each(|row| batch.events.push(row));
            keys.iter().for_each(|row| batch.keys.push(row));
            batch.note_streams(&names, &mut streams);
            let last = events.last().expect("a batch has events");
            batch.head = (last.get("position"), last.get("hash"), last.get("recorded_at"), streams);
            batch
        });
        Self { batches: batches.collect() }
    }
}

impl Batch {
    /// How many it has.
    pub(super) fn events(&self) -> usize {
        self.events.payloads.len()
    }

    /// `streams`: how many there are. The others that it has events of were there before.
    fn note_streams(&mut self, names: &BTreeMap<i64, [String; 3]>, streams: &mut i64) {
        let [_, of_events, ..] = &self.events.places;
        let begun: BTreeSet<i64> = of_events.iter().copied().filter(|stream| *stream > *streams).collect();
        for stream in begun {
            *streams = stream;
            self.begun.numbers.push(stream);
            self.begun.names.iter_mut().zip(&names[&stream]).for_each(|(all, name)| all.push(name.clone()));
        }
    }
}

impl Events {
    fn push(&mut self, row: &Row) {
        let names = ["position", "stream", "version", "recorded_at", "decided_at"];
        self.places.iter_mut().zip(names).for_each(|(all, name)| all.push(row.get(name)));
        let names = ["type_version", "command_events", "command_index"];
        self.numbers.iter_mut().zip(names).for_each(|(all, name)| all.push(row.get(name)));
        self.commands.push(row.get("command_id"));
        self.others.iter_mut().zip(["correlation", "causation"]).for_each(|(all, name)| all.push(row.get(name)));
        self.digests.iter_mut().zip(["hash", "checksum"]).for_each(|(all, name)| all.push(row.get(name)));
        self.texts.iter_mut().zip(["type", "principal"]).for_each(|(all, name)| all.push(row.get(name)));
        self.traces.push(row.get("trace"));
        self.payloads.push(row.get("payload"));
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 17] {
        let Self { places, numbers, commands, others, digests, texts, traces, payloads } = self;
        let [position, stream, version, recorded, decided] = places;
        let [type_versions, command_events, indexes] = numbers;
        let ([correlations, causations], [hashes, checksums], [types, principals]) = (others, digests, texts);
        [
            position,
            stream,
            version,
            recorded,
            decided,
            type_versions,
            command_events,
            indexes,
            commands,
            correlations,
            causations,
            hashes,
            checksums,
            types,
            principals,
            traces,
            payloads,
        ]
    }
}

impl Keys {
    fn push(&mut self, row: &Row) {
        self.keys.push(row.get("key"));
        self.fingerprints.push(row.get("fingerprint"));
        self.commands.push(row.get("command_id"));
        self.firsts.push(row.get("first"));
        self.events.push(row.get("events"));
        self.versions.push(row.get("version"));
        self.heads.push(row.get("head"));
        self.refusals.push(row.get("refusal"));
        self.elapsed.push(row.get("elapsed"));
        self.checksums.push(row.get("checksum"));
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        let Self { keys, fingerprints, commands, firsts, events, versions, heads, refusals, elapsed, checksums } = self;
        [keys, fingerprints, commands, firsts, events, versions, heads, refusals, elapsed, checksums]
    }
}

/// What is run for each batch.
pub(super) struct Statements {
    begin: Statement,
    insert_events: Statement,
    insert_streams: Statement,
    insert_keys: Statement,
    move_head: Statement,
    commit: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Self {
        let prepare = async |statement: &str| client.prepare(statement).await.expect("prepared");
        Self {
            begin: prepare("BEGIN").await,
            insert_events: prepare(INSERT_EVENTS).await,
            insert_streams: prepare(INSERT_STREAMS).await,
            insert_keys: prepare(INSERT_KEYS).await,
            move_head: prepare(MOVE_HEAD).await,
            commit: prepare("COMMIT").await,
        }
    }

    /// All rows of a batch, in one transaction. Whoever polls this the first time has sent all of it, in this order: what is
    /// sent after it, before it has answered, comes after it.
    pub(super) async fn insert(&self, client: &Client, batch: &Batch) {
        let Batch { events, begun, keys, head } = batch;
        let [tenants, aggregates, ids] = &begun.names;
        let (events, keys) = (events.parameters(), keys.parameters());
        let streams: [&(dyn ToSql + Sync); 4] = [&begun.numbers, tenants, aggregates, ids];
        let head: [&(dyn ToSql + Sync); 4] = [&head.0, &head.1, &head.2, &head.3];
        let all: [(&Statement, &[&(dyn ToSql + Sync)]); 6] = [
            (&self.begin, &[]),
            (&self.insert_events, &events),
            (&self.insert_streams, &streams),
            (&self.insert_keys, &keys),
            (&self.move_head, &head),
            (&self.commit, &[]),
        ];
        let sent = all.map(|(statement, parameters)| client.execute(statement, parameters));
        for done in join_all(sent).await {
            done.expect("done");
        }
    }

    /// The events of a batch and nothing else.
    pub(super) async fn insert_events(&self, client: &Client, batch: &Batch) {
        client.execute(&self.insert_events, &batch.events.parameters()).await.expect("inserted");
    }
}

/// Bare, the rows are those of the log, and there are no others.
pub(super) async fn compare(client: &Client) {
    for table in ["event_rows", "stream_names", "idempotency", "log_head"] {
        let (log, bare) = (format!("TABLE diptych.{table}"), format!("TABLE bare.{table}"));
        let differing =
            format!("SELECT count(*) FROM (({log} EXCEPT ALL {bare}) UNION ALL ({bare} EXCEPT ALL {log})) AS d");
        let differing = client.query_one(&differing, &[]).await.expect("compared");
        assert_eq!(differing.get::<_, i64>(0), 0, "rows of {table} differ");
    }
}
