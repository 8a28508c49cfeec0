-- Run before the migrations, by whoever may make roles and owns the database. Roles are the server's, so their names begin
-- with a prefix of this log's own. What is there already stays as it is.
DO $$
DECLARE
    prefix text := current_setting('diptych.role_prefix');
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['migrator', 'append', 'relay', 'handler', 'query'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = prefix || '_' || part) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', prefix || '_' || part);
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, prefix || '_migrator', 'MEMBER') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', prefix || '_migrator');
    END IF;
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'diptych') THEN
        EXECUTE format('CREATE SCHEMA diptych AUTHORIZATION %I', prefix || '_migrator');
        -- `query` is in no list: whoever answers queries has no business here.
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
        FOREACH part IN ARRAY ARRAY['migrator', 'append', 'relay', 'handler'] LOOP
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), prefix || '_' || part);
        END LOOP;
    END IF;
END
$$;
