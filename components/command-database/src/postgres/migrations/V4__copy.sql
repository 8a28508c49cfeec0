-- A copy of another log that is being written into this one: until it is whole nobody else may use it. `source` tells what is
-- copied from anything else.
CREATE TABLE diptych.copying (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    source bytea NOT NULL
);

-- As before, but not while a copy is being written.
CREATE OR REPLACE FUNCTION diptych.take_head(seen_epoch uuid, seen_position bigint, fresh_epoch uuid, now bigint)
RETURNS diptych.log_head LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head diptych.log_head;
BEGIN
    SELECT h.* INTO STRICT head FROM diptych.log_head h FOR UPDATE;
    IF EXISTS (SELECT FROM diptych.copying) THEN
        RAISE EXCEPTION 'a copy is being written into this log, and is not whole';
    END IF;
    IF head.written_by <> diptych.present_server() THEN
        RETURN diptych.write_epoch(head, fresh_epoch, now, 'another server or timeline');
    ELSIF head.epoch = seen_epoch AND head.position < seen_position THEN
        RETURN diptych.write_epoch(head, fresh_epoch, now, 'the head had been further');
    END IF;
    RETURN head;
END
$$;

-- Begins a copy in a log that has nothing but its first epoch, which goes: the copy brings its own.
CREATE FUNCTION diptych.begin_copy(copied bytea, epochs uuid[], firsts bigint[], begans bigint[], elapsed_then bigint,
    relayed bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head diptych.log_head;
BEGIN
    SELECT h.* INTO STRICT head FROM diptych.log_head h FOR UPDATE;
    IF head.position > 0 OR EXISTS (SELECT FROM diptych.idempotency) OR EXISTS (SELECT FROM diptych.copying)
        OR (SELECT count(*) FROM diptych.lineage) > 1 THEN
        RAISE EXCEPTION 'the log is not empty';
    END IF;
    INSERT INTO diptych.copying (source) VALUES (copied);
    ALTER TABLE diptych.lineage DISABLE TRIGGER lineage_stays;
    DELETE FROM diptych.lineage;
    ALTER TABLE diptych.lineage ENABLE TRIGGER lineage_stays;
    INSERT INTO diptych.lineage (ordinal, epoch, first, began, reason)
    SELECT w.n, w.epoch, w.first, w.began, 'copied' FROM unnest(epochs, firsts, begans) WITH ORDINALITY AS w (epoch, first, began, n);
    UPDATE diptych.log_head SET epoch = epochs[cardinality(epochs)];
    UPDATE diptych.clock SET elapsed = elapsed_then;
    UPDATE diptych.relay SET cursor = relayed;
END
$$;

-- The source has gone on since the copy was interrupted: what has been copied of its events is still right, what is remembered
-- under keys may not be.
CREATE FUNCTION diptych.begin_copy_again(copied bytea, elapsed_then bigint, relayed bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE diptych.copying SET source = copied;
    DELETE FROM diptych.idempotency;
    UPDATE diptych.clock SET elapsed = elapsed_then;
    UPDATE diptych.relay SET cursor = relayed;
END
$$;

-- The next events, as they are in the log that is copied. Streams are those of these events, in the order of their first one
-- here, each with the version of its last; they get numbers as an append would give them.
CREATE FUNCTION diptych.copy_events(
    after bigint, tenants text[], aggregates text[], ids text[], last_versions bigint[],
    positions bigint[], stream_of integer[], versions bigint[], recorded bigint[], decided bigint[],
    type_versions integer[], command_events integer[], command_indexes integer[], command_ids uuid[], event_ids uuid[],
    correlations uuid[], causations uuid[], hashes bytea[], checksums bytea[], types text[], principals text[], traces bytea[],
    payloads bytea[]
)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    head diptych.log_head;
    numbers bigint[];
    last integer := cardinality(positions);
BEGIN
    SELECT h.* INTO STRICT head FROM diptych.log_head h FOR UPDATE;
    IF head.position <> after OR NOT EXISTS (SELECT FROM diptych.copying) THEN
        RAISE EXCEPTION 'the log ends at %, not at %: somebody else has written into it', head.position, after;
    END IF;
    INSERT INTO diptych.streams (stream, version, tenant, aggregate, id)
    SELECT head.streams + row_number() OVER (ORDER BY w.n), w.version, w.tenant, w.aggregate, w.id
    FROM unnest(tenants, aggregates, ids, last_versions) WITH ORDINALITY AS w (tenant, aggregate, id, version, n)
    WHERE NOT EXISTS (SELECT FROM diptych.streams t
        WHERE t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id);
    SELECT array_agg(t.stream ORDER BY w.n) INTO numbers
    FROM unnest(tenants, aggregates, ids) WITH ORDINALITY AS w (tenant, aggregate, id, n)
    JOIN diptych.streams t ON t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id;
    UPDATE diptych.streams t SET version = w.version
    FROM unnest(numbers, last_versions) AS w (stream, version) WHERE t.stream = w.stream AND t.version < w.version;
    INSERT INTO diptych.event_rows (position, stream, version, recorded_at, decided_at, type_version, command_events,
        command_index, command_id, event_id, correlation, causation, hash, checksum, type, principal, trace, payload)
    SELECT w.position, numbers[w.stream], w.version, w.recorded_at, w.decided_at, w.type_version, w.command_events,
        w.command_index, w.command_id, w.event_id, w.correlation, w.causation, w.hash, w.checksum, w.type, w.principal,
        w.trace, w.payload
    FROM unnest(positions, stream_of, versions, recorded, decided, type_versions, command_events, command_indexes, command_ids,
        event_ids, correlations, causations, hashes, checksums, types, principals, traces, payloads)
        AS w (position, stream, version, recorded_at, decided_at, type_version, command_events, command_index, command_id,
        event_id, correlation, causation, hash, checksum, type, principal, trace, payload);
    UPDATE diptych.log_head SET position = positions[last], hash = hashes[last], recorded_at = recorded[last],
        streams = greatest(head.streams, (SELECT max(number) FROM unnest(numbers) AS w (number)));
END
$$;

-- What is remembered under the next keys.
CREATE FUNCTION diptych.copy_records(
    keys bytea[], fingerprints bytea[], command_ids uuid[], firsts bigint[], events integer[], versions bigint[],
    heads bigint[], refusals bytea[], elapsed bigint[]
)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM diptych.copying) THEN
        RAISE EXCEPTION 'no copy is being written into this log';
    END IF;
    INSERT INTO diptych.idempotency (key, fingerprint, command_id, first, events, version, head, refusal, elapsed, checksum)
    SELECT w.key, w.fingerprint, w.command_id, w.first, w.events, w.version, w.head, w.refusal, w.elapsed,
        substr(sha256(w.key || w.fingerprint || uuid_send(w.command_id) || int8send(coalesce(w.first, 0))
            || int4send(w.events) || int8send(coalesce(w.version, 0)) || int8send(coalesce(w.head, 0))
            || CASE WHEN w.refusal IS NULL THEN '\x00' ELSE '\x01' || w.refusal END), 1, 4)
    FROM unnest(keys, fingerprints, command_ids, firsts, events, versions, heads, refusals, elapsed)
        AS w (key, fingerprint, command_id, first, events, version, head, refusal, elapsed);
END
$$;

-- The copy is whole: another life begins, and whoever wants may use the log.
CREATE FUNCTION diptych.end_copy(fresh_epoch uuid, now bigint, cause text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head diptych.log_head;
BEGIN
    SELECT h.* INTO STRICT head FROM diptych.log_head h FOR UPDATE;
    IF NOT EXISTS (SELECT FROM diptych.copying) THEN
        RAISE EXCEPTION 'no copy is being written into this log';
    END IF;
    PERFORM diptych.write_epoch(head, fresh_epoch, now, cause);
    DELETE FROM diptych.copying;
END
$$;

REVOKE ALL ON FUNCTION diptych.begin_copy, diptych.begin_copy_again, diptych.copy_events, diptych.copy_records,
    diptych.end_copy FROM PUBLIC;

DO $$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['append', 'relay', 'handler'] LOOP
        EXECUTE format('GRANT SELECT ON diptych.copying TO %I', current_setting('diptych.role_prefix') || '_' || part);
    END LOOP;
END
$$;

UPDATE diptych.meta SET format = 2;
