-- Nothing that an append need not do: where a stream stands is seen from its events, and what a process can work out is not
-- worked out here again.
--
-- Binaries of format 2 may go on beside newer ones. What they call, read and write stays until the next release: the other
-- `append`, and `streams` with its columns.

-- Held to the end: whoever appends is either done or has not begun.
SELECT position FROM diptych.log_head FOR UPDATE;

ALTER TABLE diptych.streams RENAME TO stream_names;
ALTER TABLE diptych.stream_names DROP COLUMN version;
REVOKE ALL ON diptych.stream_names FROM PUBLIC;

-- The version is the end of the index of a stream's events.
CREATE VIEW diptych.streams AS
SELECT s.stream, (SELECT e.version FROM diptych.event_rows e WHERE e.stream = s.stream ORDER BY e.version DESC LIMIT 1) AS version,
    s.tenant, s.aggregate, s.id
FROM diptych.stream_names s;

-- The next release does not need it any more.
CREATE FUNCTION diptych.write_stream_name() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO diptych.stream_names (stream, tenant, aggregate, id) VALUES (NEW.stream, NEW.tenant, NEW.aggregate, NEW.id);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER streams_are_names INSTEAD OF INSERT OR UPDATE ON diptych.streams
    FOR EACH ROW EXECUTE FUNCTION diptych.write_stream_name();

-- As before, but with a body that the server keeps from one transaction to the next.
CREATE OR REPLACE FUNCTION diptych.present_server() RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system())::text || '/'
        || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
END
$$;

-- Appends a batch.
--
-- A process that wrote the end of the log knows what a batch comes to if nobody has written since and nobody in it loses, and
-- sends that along. If the end is still the one that it knows, its streams stand where it knows them to stand, and the rows are
-- written as they came; whether a new name or a key is taken, their indexes tell. If one is, or the end is another one, all is
-- worked out here. Then nothing can fail for one command alone: who lost leaves before anything of his is written. A command with
-- events of which nothing is written takes those along that expect a version of its stream and come after it: they may have
-- been decided on events that never came to be.
--
-- Each group of parameters has arrays of one length: the distinct streams, the commands (with the ordinal of the stream, and of
-- the first one that has the same key, NULL for none; `expected` NULL = any, 0 = no stream) and all their events, one after the
-- other (with the ordinal of the stream). `now` and `elapsed_now` in microseconds, by the wall clock and by the log's own.
--
-- `foreseen_hash` is that of the last event, NULL where nothing is foreseen; what else is named so counts for nothing then.
-- Otherwise `now` is no earlier than that event, and `foreseen_numbers` has NULL for streams of which only the version is known.
--
-- An outcome for each command, in order: 0 committed, 1 another version (`version`, 0 = no stream), 2 the key is taken, with
-- the record. Or one row alone: 3, all is as foreseen, with the streams' numbers. The first row has the end of the log.
--
-- The head is locked first and everything else read and written under it, so that no other lock can be waited for and none
-- can be waited for in a circle. Joins are by index whatever the tables' sizes were when the plans were made.
CREATE FUNCTION diptych.append(
    seen_epoch uuid, seen_position bigint, fresh_epoch uuid, now bigint, elapsed_now bigint,
    foreseen_epoch uuid, foreseen_hash bytea,
    tenants text[], aggregates text[], ids text[],
    foreseen_before bigint[], foreseen_numbers bigint[], foreseen_begins boolean[],
    command_ids uuid[], stream_of integer[], expected bigint[], event_counts integer[],
    keys bytea[], key_of integer[], fingerprints bytea[], refusals bytea[],
    foreseen_firsts bigint[], foreseen_versions bigint[], foreseen_heads bigint[], foreseen_records bytea[],
    event_streams integer[], types text[], type_versions integer[], event_commands uuid[], command_events integer[],
    command_indexes integer[], principals text[], decided bigint[], correlations uuid[], causations uuid[], traces bytea[],
    digests bytea[], contents integer[], payloads bytea[],
    foreseen_positions bigint[], foreseen_event_versions bigint[], foreseen_hashes bytea[], foreseen_checksums bytea[]
)
RETURNS TABLE (
    outcome integer, first_position bigint, stream_version bigint, head_position bigint, in_epoch uuid,
    fingerprint bytea, command_id uuid, first bigint, events integer, version bigint, head bigint, refusal bytea, checksum bytea,
    last_position bigint, last_hash bytea, last_recorded_at bigint, last_stream bigint, stream_numbers bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    before diptych.log_head := diptych.take_head(seen_epoch, seen_position, fresh_epoch, now);
    tail diptych.log_head := before;
    recorded bigint := greatest(before.recorded_at, now);
    is_foreseen boolean := coalesce(before.hash = foreseen_hash AND before.epoch = foreseen_epoch AND recorded = now, false);
    -- Of the streams: where they stand, whether they begin, and whether events that were to be written are not.
    present bigint[];
    numbers bigint[];
    begins boolean[];
    lost boolean[];
    -- Of the commands.
    has_keys boolean := (SELECT count(w.key) > 0 FROM unnest(keys) AS w (key));
    taken boolean[];
    kinds integer[];
    firsts bigint[];
    versions bigint[];
    heads bigint[];
    records bytea[];
    -- Of the events; the position is NULL where they are not written.
    positions bigint[];
    event_versions bigint[];
    hashes bytea[];
    checksums bytea[];
    epoch_bytes bytea;
    recorded_bytes bytea;
    e integer;
    s integer;
    at bigint;
BEGIN
    IF is_foreseen THEN
        numbers := foreseen_numbers;
        IF array_position(numbers, NULL) IS NOT NULL THEN
            SELECT array_agg(coalesce(w.number, t.stream) ORDER BY w.n), bool_and(w.number IS NOT NULL OR coalesce(t.version, 0) = w.version)
            INTO numbers, is_foreseen
            FROM unnest(foreseen_numbers, foreseen_before, tenants, aggregates, ids) WITH ORDINALITY
                AS w (number, version, tenant, aggregate, id, n)
            LEFT JOIN diptych.streams t
                ON w.number IS NULL AND t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id;
        END IF;
    END IF;

    LOOP
        IF is_foreseen THEN
            begins := foreseen_begins;
            kinds := array_fill(0, ARRAY[cardinality(command_ids)]);
            firsts := foreseen_firsts;
            versions := foreseen_versions;
            heads := foreseen_heads;
            records := foreseen_records;
            positions := foreseen_positions;
            event_versions := foreseen_event_versions;
            hashes := foreseen_hashes;
            checksums := foreseen_checksums;
            IF cardinality(positions) > 0 THEN
                tail.position := positions[cardinality(positions)];
                tail.hash := hashes[cardinality(hashes)];
                tail.streams := greatest(tail.streams, (SELECT max(w.number) FROM unnest(numbers) AS w (number)));
            END IF;
        ELSE
            tail := before;
            SELECT array_agg(coalesce(t.version, 0) ORDER BY w.n), array_agg(t.stream ORDER BY w.n) INTO present, numbers
            FROM unnest(tenants, aggregates, ids) WITH ORDINALITY AS w (tenant, aggregate, id, n)
            LEFT JOIN diptych.streams t ON t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id;
            IF has_keys THEN
                SELECT array_agg(i.key IS NOT NULL ORDER BY w.n) INTO taken
                FROM unnest(keys) WITH ORDINALITY AS w (key, n) LEFT JOIN diptych.idempotency i ON i.key = w.key;
            END IF;
            begins := array_fill(false, ARRAY[cardinality(ids)]);
            lost := begins;
            kinds := array_fill(0, ARRAY[cardinality(command_ids)]);
            firsts := array_fill(NULL::bigint, ARRAY[cardinality(command_ids)]);
            versions := firsts;
            heads := firsts;
            records := array_fill(NULL::bytea, ARRAY[cardinality(command_ids)]);
            positions := array_fill(NULL::bigint, ARRAY[cardinality(payloads)]);
            event_versions := positions;
            hashes := array_fill(NULL::bytea, ARRAY[cardinality(payloads)]);
            checksums := hashes;
            epoch_bytes := uuid_send(tail.epoch);
            recorded_bytes := int8send(recorded);
            e := 0;
            FOR c IN 1 .. cardinality(command_ids) LOOP
                s := stream_of[c];
                at := present[s];
                IF key_of[c] IS NOT NULL AND taken[key_of[c]] THEN
                    kinds[c] := 2;
                ELSIF expected[c] <> at OR (expected[c] IS NOT NULL AND lost[s]) THEN
                    kinds[c] := 1;
                    versions[c] := at;
                END IF;
                IF kinds[c] > 0 THEN
                    lost[s] := lost[s] OR event_counts[c] > 0;
                    e := e + event_counts[c];
                    CONTINUE;
                END IF;
                IF event_counts[c] > 0 THEN
                    firsts[c] := tail.position + 1;
                    IF numbers[s] IS NULL THEN
                        tail.streams := tail.streams + 1;
                        numbers[s] := tail.streams;
                        begins[s] := true;
                    END IF;
                    FOR i IN 1 .. event_counts[c] LOOP
                        e := e + 1;
                        tail.position := tail.position + 1;
                        at := at + 1;
                        tail.hash := sha256(tail.hash || epoch_bytes || int8send(tail.position) || int8send(at)
                            || recorded_bytes || digests[e]);
                        positions[e] := tail.position;
                        event_versions[e] := at;
                        hashes[e] := tail.hash;
                        checksums[e] := substr(sha256(int4send(contents[e]) || int8send(tail.position) || int8send(at)
                            || recorded_bytes || tail.hash), 1, 4);
                    END LOOP;
                    present[s] := at;
                END IF;
                IF key_of[c] IS NOT NULL THEN
                    taken[key_of[c]] := true;
                END IF;
                versions[c] := at;
                heads[c] := tail.position;
            END LOOP;
        END IF;

        BEGIN
            IF true = ANY (begins) THEN
                INSERT INTO diptych.stream_names (stream, tenant, aggregate, id)
                SELECT w.stream, w.tenant, w.aggregate, w.id
                FROM (SELECT unnest(begins) AS begins, unnest(numbers) AS stream, unnest(tenants) AS tenant,
                    unnest(aggregates) AS aggregate, unnest(ids) AS id) AS w
                WHERE w.begins;
            END IF;
            IF tail.position > before.position THEN
                INSERT INTO diptych.event_rows (position, stream, version, recorded_at, decided_at, type_version,
                    command_events, command_index, command_id, correlation, causation, hash, checksum, type, principal, trace,
                    payload)
                SELECT w.position, numbers[w.stream], w.version, recorded, w.decided_at, w.type_version, w.command_events,
                    w.command_index, w.command_id, w.correlation, w.causation, w.hash, w.checksum, w.type, w.principal,
                    w.trace, w.payload
                FROM (SELECT unnest(positions) AS position, unnest(event_streams) AS stream,
                    unnest(event_versions) AS version, unnest(decided) AS decided_at, unnest(type_versions) AS type_version,
                    unnest(command_events) AS command_events, unnest(command_indexes) AS command_index,
                    unnest(event_commands) AS command_id, unnest(correlations) AS correlation,
                    unnest(causations) AS causation, unnest(hashes) AS hash, unnest(checksums) AS checksum,
                    unnest(types) AS type, unnest(principals) AS principal, unnest(traces) AS trace,
                    unnest(payloads) AS payload) AS w
                WHERE w.position IS NOT NULL;
            END IF;
            IF has_keys THEN
                INSERT INTO diptych.idempotency (key, fingerprint, command_id, first, events, version, head, refusal, elapsed,
                    checksum)
                SELECT w.key, w.fingerprint, w.command_id, w.first, w.events, w.version, w.head, w.refusal,
                    greatest(elapsed_now, (SELECT elapsed FROM diptych.clock)),
                    coalesce(w.checksum, substr(sha256(w.key || w.fingerprint || uuid_send(w.command_id) || int8send(coalesce(w.first, 0))
                        || int4send(w.events) || int8send(coalesce(w.version, 0)) || int8send(coalesce(w.head, 0))
                        || CASE WHEN w.refusal IS NULL THEN '\x00' ELSE '\x01' || w.refusal END), 1, 4))
                FROM (SELECT unnest(kinds) AS kind, unnest(keys) AS key, unnest(fingerprints) AS fingerprint,
                    unnest(command_ids) AS command_id, unnest(firsts) AS first, unnest(event_counts) AS events,
                    unnest(versions) AS version, unnest(heads) AS head, unnest(refusals) AS refusal,
                    unnest(records) AS checksum) AS w
                WHERE w.kind = 0 AND w.key IS NOT NULL;
            END IF;
            EXIT;
        EXCEPTION WHEN unique_violation THEN
            -- Undone, all that this block has written. What was worked out here takes nothing twice.
            IF NOT is_foreseen THEN
                RAISE;
            END IF;
            is_foreseen := false;
        END;
    END LOOP;

    IF tail.position > before.position THEN
        UPDATE diptych.log_head
        SET position = tail.position, hash = tail.hash, recorded_at = recorded, streams = tail.streams;
    END IF;
    IF is_foreseen THEN
        RETURN QUERY SELECT 3, NULL::bigint, NULL::bigint, NULL::bigint, tail.epoch, NULL::bytea, NULL::uuid, NULL::bigint,
            NULL::integer, NULL::bigint, NULL::bigint, NULL::bytea, NULL::bytea, tail.position, tail.hash, recorded, tail.streams, numbers;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT w.kind, w.first, w.version, w.head, tail.epoch, i.fingerprint, i.command_id, i.first, i.events, i.version, i.head,
        i.refusal, i.checksum, tail.position, CASE WHEN w.n = 1 THEN tail.hash END, recorded, tail.streams, NULL::bigint[]
    FROM unnest(kinds, firsts, versions, heads, keys) WITH ORDINALITY AS w (kind, first, version, head, key, n)
    LEFT JOIN diptych.idempotency i ON w.kind = 2 AND i.key = w.key
    ORDER BY w.n;
END
$$;

-- As before, but names alone are written of streams.
CREATE OR REPLACE FUNCTION diptych.copy_events(
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
    INSERT INTO diptych.stream_names (stream, tenant, aggregate, id)
    SELECT head.streams + row_number() OVER (ORDER BY w.n), w.tenant, w.aggregate, w.id
    FROM unnest(tenants, aggregates, ids) WITH ORDINALITY AS w (tenant, aggregate, id, n)
    WHERE NOT EXISTS (SELECT FROM diptych.stream_names t
        WHERE t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id);
    SELECT array_agg(t.stream ORDER BY w.n) INTO numbers
    FROM unnest(tenants, aggregates, ids) WITH ORDINALITY AS w (tenant, aggregate, id, n)
    JOIN diptych.stream_names t ON t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id;
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

REVOKE ALL ON FUNCTION diptych.write_stream_name FROM PUBLIC;
DO $$
DECLARE
    append text := current_setting('diptych.role_prefix') || '_append';
    signature text;
BEGIN
    FOR signature IN SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'diptych'::regnamespace AND proname = 'append' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', signature, append);
    END LOOP;
    EXECUTE format('REVOKE ALL ON diptych.stream_names FROM %I', append);
    EXECUTE format('GRANT SELECT ON diptych.streams TO %I', append);
END
$$;

UPDATE diptych.meta SET format = 3;
