-- Everything here belongs to the role `<prefix>_migrator`, in a schema of its own. Texts compare byte by byte.

-- What tells a log from other databases. `oldest_format`: of the oldest binary that may still use it.
CREATE TABLE diptych.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    mark text NOT NULL,
    format integer NOT NULL,
    oldest_format integer NOT NULL
);
INSERT INTO diptych.meta (mark, format, oldest_format) VALUES ('diptych log', 1, 1);

CREATE FUNCTION diptych.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% neither change nor go', TG_TABLE_SCHEMA, TG_TABLE_NAME;
END
$$;

-- The server that answers, and the timeline that it writes now: a log that was promoted, recovered, or copied to another
-- server is not where it was written. The timeline is not that of the control file, which lags behind a promotion.
CREATE FUNCTION diptych.present_server() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT system_identifier FROM pg_control_system())::text || '/'
        || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
$$;

-- The lives of the log. `first`: the first position of each; `began`: microseconds since 1970, for people.
CREATE TABLE diptych.lineage (
    ordinal integer PRIMARY KEY,
    epoch uuid NOT NULL UNIQUE,
    first bigint NOT NULL CHECK (first > 0),
    began bigint NOT NULL,
    reason text NOT NULL
);
INSERT INTO diptych.lineage (ordinal, epoch, first, began, reason)
VALUES (1, gen_random_uuid(), 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'the log was made');

CREATE TRIGGER lineage_stays BEFORE UPDATE OR DELETE ON diptych.lineage
    FOR EACH ROW EXECUTE FUNCTION diptych.refuse_change();
CREATE TRIGGER lineage_is_not_emptied BEFORE TRUNCATE ON diptych.lineage
    FOR EACH STATEMENT EXECUTE FUNCTION diptych.refuse_change();

-- The end of the log. Whoever appends locks this row first and keeps it to the end of the commit: that alone makes positions
-- dense and in commit order. Nearly empty pages, so that its many versions stay on one.
CREATE TABLE diptych.log_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL,
    hash bytea NOT NULL,
    recorded_at bigint NOT NULL,
    epoch uuid NOT NULL,
    -- Where it was written: see `present_server`.
    written_by text COLLATE "C" NOT NULL,
    -- The greatest number that a stream has.
    streams bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO diptych.log_head (position, hash, recorded_at, epoch, written_by, streams)
SELECT 0, decode(repeat('00', 32), 'hex'), (-9223372036854775808)::bigint, epoch, diptych.present_server(), 0
FROM diptych.lineage;

-- A stream is its number in the events' rows.
CREATE TABLE diptych.streams (
    stream bigint PRIMARY KEY,
    version bigint NOT NULL CHECK (version > 0),
    tenant text COLLATE "C" NOT NULL,
    aggregate text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    UNIQUE (tenant, aggregate, id)
) WITH (fillfactor = 80);

-- `event_id` NULL = derived from command and `command_index`; `correlation`, `causation` NULL = the command's id; `trace`
-- NULL = the trace named like the command, without parent, state, not sampled. Times in microseconds since 1970.
CREATE TABLE diptych.event_rows (
    position bigint PRIMARY KEY,
    stream bigint NOT NULL,
    version bigint NOT NULL,
    recorded_at bigint NOT NULL,
    decided_at bigint NOT NULL,
    type_version integer NOT NULL,
    command_events integer NOT NULL,
    command_index integer NOT NULL,
    command_id uuid NOT NULL,
    event_id uuid,
    correlation uuid,
    causation uuid,
    hash bytea NOT NULL,
    checksum bytea NOT NULL,
    type text COLLATE "C" NOT NULL,
    principal text COLLATE "C" NOT NULL,
    trace bytea,
    payload bytea NOT NULL,
    UNIQUE (stream, version)
);
CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE ON diptych.event_rows
    FOR EACH ROW EXECUTE FUNCTION diptych.refuse_change();
CREATE TRIGGER events_are_not_emptied BEFORE TRUNCATE ON diptych.event_rows
    FOR EACH STATEMENT EXECUTE FUNCTION diptych.refuse_change();

-- What readers see: events with their streams' names and their epochs.
CREATE VIEW diptych.events AS
SELECT e.position,
    (SELECT l.epoch FROM diptych.lineage l WHERE l.first <= e.position ORDER BY l.ordinal DESC LIMIT 1) AS epoch,
    s.tenant, s.aggregate, s.id, e.version, e.type, e.type_version, e.command_id, e.command_events, e.command_index,
    e.event_id, e.principal, e.decided_at, e.correlation, e.causation, e.trace, e.recorded_at, e.hash, e.checksum, e.payload,
    e.stream
FROM diptych.event_rows e LEFT JOIN diptych.streams s ON s.stream = e.stream;

-- `elapsed`: by the log's own clock.
CREATE TABLE diptych.idempotency (
    key bytea PRIMARY KEY,
    fingerprint bytea NOT NULL,
    command_id uuid NOT NULL,
    first bigint,
    events integer NOT NULL,
    version bigint,
    head bigint,
    refusal bytea,
    elapsed bigint NOT NULL,
    checksum bytea NOT NULL
);

CREATE TABLE diptych.snapshots (
    stream bigint PRIMARY KEY,
    version bigint NOT NULL,
    checksum integer NOT NULL,
    state_shape bytea NOT NULL,
    state bytea NOT NULL
) WITH (fillfactor = 50);

-- The log's own clock: microseconds during which some process had it open, as far as those processes have told.
CREATE TABLE diptych.clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    elapsed bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO diptych.clock (elapsed) VALUES (0);

-- Who may relay, until when by that clock, and how far the queue has everything.
CREATE TABLE diptych.relay (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    token bigint NOT NULL,
    cursor bigint,
    holder uuid,
    until bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO diptych.relay (token, until) VALUES (0, 0);
