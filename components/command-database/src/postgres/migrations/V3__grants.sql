-- Each role may do what its box does, and no more. A process of the Command Service, which also relays, is a member of two.
-- Events, heads, keys and streams are written by the function `append` alone, which runs as the owner.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA diptych FROM PUBLIC;

DO $$
DECLARE
    append text := current_setting('diptych.role_prefix') || '_append';
    relay text := current_setting('diptych.role_prefix') || '_relay';
    handler text := current_setting('diptych.role_prefix') || '_handler';
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA diptych TO %I, %I, %I', append, relay, handler);
    EXECUTE format('GRANT SELECT ON diptych.events, diptych.log_head, diptych.lineage, diptych.meta TO %I, %I, %I',
        append, relay, handler);

    EXECUTE format('GRANT EXECUTE ON FUNCTION diptych.append, diptych.recognise, diptych.present_server TO %I', append);
    EXECUTE format('GRANT SELECT ON diptych.streams, diptych.idempotency, diptych.snapshots, diptych.clock TO %I', append);
    EXECUTE format('GRANT INSERT, UPDATE ON diptych.snapshots TO %I', append);
    EXECUTE format('GRANT DELETE ON diptych.idempotency TO %I', append);
    EXECUTE format('GRANT UPDATE (elapsed) ON diptych.clock TO %I', append);

    EXECUTE format('GRANT SELECT ON diptych.relay, diptych.clock TO %I', relay);
    EXECUTE format('GRANT UPDATE (token, cursor, holder, until) ON diptych.relay TO %I', relay);
    EXECUTE format('GRANT UPDATE (elapsed) ON diptych.clock TO %I', relay);
END
$$;
