-- The users of the Query Database, `rows`: one a box. Run once, before `migrate`, in an empty database, by whoever owns it;
-- `migrate` is run by the same. The passwords are to be replaced.
CREATE ROLE diptych_handler NOLOGIN;
CREATE ROLE diptych_query NOLOGIN;
CREATE ROLE event_handler LOGIN PASSWORD 'EVENT_HANDLER_PASSWORD' IN ROLE diptych_handler;
CREATE ROLE query_service LOGIN PASSWORD 'QUERY_SERVICE_PASSWORD' IN ROLE diptych_query;
