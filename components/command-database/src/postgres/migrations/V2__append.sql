-- Begins another life of the log, for whoever holds the head.
CREATE FUNCTION diptych.write_epoch(head diptych.log_head, fresh_epoch uuid, now bigint, cause text)
RETURNS diptych.log_head LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    head.epoch := fresh_epoch;
    head.written_by := diptych.present_server();
    INSERT INTO diptych.lineage (ordinal, epoch, first, began, reason)
    SELECT max(l.ordinal) + 1, fresh_epoch, head.position + 1, now, cause FROM diptych.lineage l;
    UPDATE diptych.log_head h SET epoch = head.epoch, written_by = head.written_by;
    RETURN head;
END
$$;

-- Locks the head. On another server or timeline than the one it was written on, or behind what a process has seen of this
-- epoch, it is not the head that it was: what follows belongs to another life.
CREATE FUNCTION diptych.take_head(seen_epoch uuid, seen_position bigint, fresh_epoch uuid, now bigint)
RETURNS diptych.log_head LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head diptych.log_head;
BEGIN
    SELECT h.* INTO STRICT head FROM diptych.log_head h FOR UPDATE;
    IF head.written_by <> diptych.present_server() THEN
        RETURN diptych.write_epoch(head, fresh_epoch, now, 'another server or timeline');
    ELSIF head.epoch = seen_epoch AND head.position < seen_position THEN
        RETURN diptych.write_epoch(head, fresh_epoch, now, 'the head had been further');
    END IF;
    RETURN head;
END
$$;

-- Begins another life where the head is not what it was. Returns the epoch that the log is in.
CREATE FUNCTION diptych.recognise(seen_epoch uuid, seen_position bigint, fresh_epoch uuid, now bigint)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (diptych.take_head(seen_epoch, seen_position, fresh_epoch, now)).epoch
$$;

-- Begins another life because somebody asks for it. Returns its first position.
CREATE FUNCTION diptych.begin_epoch(fresh_epoch uuid, now bigint)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head diptych.log_head;
BEGIN
    SELECT h.* INTO STRICT head FROM diptych.log_head h FOR UPDATE;
    head := diptych.write_epoch(head, fresh_epoch, now, 'asked for');
    RETURN head.position + 1;
END
$$;

-- Appends a batch. Nothing in it can fail for one command alone: who lost leaves before anything of his is written.
--
-- Each group of parameters has arrays of one length: the distinct streams, the distinct keys, the commands (with the ordinal of
-- the stream and of the key, NULL for none; `expected` NULL = any, 0 = no stream) and all their events, one after the other.
-- `now` and `elapsed_now` in microseconds, by the wall clock and by the log's own.
--
-- An outcome for each command, in order: 0 committed, 1 another version (`version`, 0 = no stream), 2 the key is taken, with
-- the record.
--
-- The head is locked first and everything else read and written under it, so that no other lock can be waited for and none
-- can be waited for in a circle. Joins are by index whatever the tables' sizes were when the plans were made.
CREATE FUNCTION diptych.append(
    seen_epoch uuid, seen_position bigint, fresh_epoch uuid, now bigint, elapsed_now bigint,
    tenants text[], aggregates text[], ids text[],
    keys bytea[],
    command_ids uuid[], stream_of integer[], expected bigint[], event_counts integer[],
    key_of integer[], fingerprints bytea[], refusals bytea[],
    types text[], type_versions integer[], event_commands uuid[], command_events integer[], command_indexes integer[],
    principals text[], decided bigint[], correlations uuid[], causations uuid[], traces bytea[],
    digests bytea[], checksums integer[], payloads bytea[]
)
RETURNS TABLE (
    outcome integer, first_position bigint, stream_version bigint, head_position bigint, in_epoch uuid,
    fingerprint bytea, command_id uuid, first bigint, events integer, version bigint, head bigint, refusal bytea, checksum bytea
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    tail diptych.log_head := diptych.take_head(seen_epoch, seen_position, fresh_epoch, now);
    head_before bigint := tail.position;
    recorded bigint := greatest(tail.recorded_at, now);
    epoch_bytes bytea := uuid_send(tail.epoch);
    recorded_bytes bytea := int8send(recorded);
    head_now bigint := tail.position;
    last_hash bytea := tail.hash;
    -- Of the streams: where they stand, before and after.
    before bigint[];
    present bigint[];
    numbers bigint[];
    -- Of the keys.
    taken boolean[];
    -- Of the commands.
    kinds integer[] := array_fill(0, ARRAY[cardinality(command_ids)]);
    firsts bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(command_ids)]);
    versions bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(command_ids)]);
    heads bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(command_ids)]);
    -- Of the events; the position is NULL where they are not written.
    positions bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(payloads)]);
    event_streams bigint[] := positions;
    event_versions bigint[] := positions;
    hashes bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(payloads)]);
    remembers boolean := false;
    e integer := 0;
    s integer;
    at bigint;
BEGIN
    SELECT array_agg(coalesce(t.version, 0) ORDER BY w.n), array_agg(t.stream ORDER BY w.n) INTO present, numbers
    FROM unnest(tenants, aggregates, ids) WITH ORDINALITY AS w (tenant, aggregate, id, n)
    LEFT JOIN diptych.streams t ON t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id;
    before := present;
    IF cardinality(keys) > 0 THEN
        SELECT array_agg(i.key IS NOT NULL ORDER BY w.n) INTO taken
        FROM unnest(keys) WITH ORDINALITY AS w (key, n) LEFT JOIN diptych.idempotency i ON i.key = w.key;
    END IF;

    FOR c IN 1 .. cardinality(command_ids) LOOP
        s := stream_of[c];
        at := present[s];
        IF key_of[c] IS NOT NULL AND taken[key_of[c]] THEN
            kinds[c] := 2;
            e := e + event_counts[c];
        ELSIF expected[c] <> at THEN
            kinds[c] := 1;
            versions[c] := at;
            e := e + event_counts[c];
        ELSE
            IF event_counts[c] > 0 THEN
                firsts[c] := head_now + 1;
                IF at = 0 THEN
                    tail.streams := tail.streams + 1;
                    numbers[s] := tail.streams;
                END IF;
                FOR i IN 1 .. event_counts[c] LOOP
                    e := e + 1;
                    head_now := head_now + 1;
                    at := at + 1;
                    last_hash := sha256(last_hash || epoch_bytes || int8send(head_now) || int8send(at)
                        || recorded_bytes || digests[e]);
                    positions[e] := head_now;
                    event_streams[e] := numbers[s];
                    event_versions[e] := at;
                    hashes[e] := last_hash;
                END LOOP;
                present[s] := at;
            END IF;
            IF key_of[c] IS NOT NULL THEN
                taken[key_of[c]] := true;
                remembers := true;
            END IF;
            versions[c] := at;
            heads[c] := head_now;
        END IF;
    END LOOP;

    IF head_now > head_before THEN
        INSERT INTO diptych.event_rows (position, stream, version, recorded_at, decided_at, type_version, command_events,
            command_index, command_id, correlation, causation, hash, checksum, type, principal, trace, payload)
        SELECT w.position, w.stream, w.version, recorded, w.decided_at, w.type_version, w.command_events, w.command_index,
            w.command_id, w.correlation, w.causation, w.hash,
            substr(sha256(int4send(w.checksum) || int8send(w.position) || int8send(w.version) || recorded_bytes || w.hash), 1, 4),
            w.type, w.principal, w.trace, w.payload
        FROM unnest(positions, event_streams, event_versions, decided, type_versions, command_events, command_indexes,
            event_commands, correlations, causations, hashes, checksums, types, principals, traces, payloads)
            AS w (position, stream, version, decided_at, type_version, command_events, command_index,
            command_id, correlation, causation, hash, checksum, type, principal, trace, payload)
        WHERE w.position IS NOT NULL;
        INSERT INTO diptych.streams (stream, version, tenant, aggregate, id)
        SELECT w.stream, w.version, w.tenant, w.aggregate, w.id
        FROM unnest(numbers, before, present, tenants, aggregates, ids) AS w (stream, before, version, tenant, aggregate, id)
        WHERE w.before = 0 AND w.version > 0;
        UPDATE diptych.streams t SET version = w.version
        FROM unnest(numbers, before, present) AS w (stream, before, version)
        WHERE w.before > 0 AND w.version > w.before AND t.stream = w.stream;
        UPDATE diptych.log_head
        SET position = head_now, hash = last_hash, recorded_at = recorded, streams = tail.streams;
    END IF;

    IF remembers THEN
        INSERT INTO diptych.idempotency (key, fingerprint, command_id, first, events, version, head, refusal, elapsed, checksum)
        SELECT keys[w.key], w.fingerprint, w.command_id, w.first, w.events, w.version, w.head, w.refusal,
            greatest(elapsed_now, (SELECT elapsed FROM diptych.clock)),
            substr(sha256(keys[w.key] || w.fingerprint || uuid_send(w.command_id) || int8send(coalesce(w.first, 0))
                || int4send(w.events) || int8send(coalesce(w.version, 0)) || int8send(coalesce(w.head, 0))
                || CASE WHEN w.refusal IS NULL THEN '\x00' ELSE '\x01' || w.refusal END), 1, 4)
        FROM unnest(kinds, key_of, fingerprints, command_ids, firsts, event_counts, versions, heads, refusals)
            AS w (kind, key, fingerprint, command_id, first, events, version, head, refusal)
        WHERE w.kind = 0 AND w.key IS NOT NULL
        ON CONFLICT (key) DO NOTHING;
    END IF;

    RETURN QUERY
    SELECT w.kind, w.first, w.version, w.head, tail.epoch, i.fingerprint, i.command_id, i.first, i.events, i.version, i.head,
        i.refusal, i.checksum
    FROM unnest(kinds, firsts, versions, heads, key_of) WITH ORDINALITY AS w (kind, first, version, head, key, n)
    LEFT JOIN diptych.idempotency i ON i.key = CASE WHEN w.kind = 2 THEN keys[w.key] END
    ORDER BY w.n;
END
$$;
