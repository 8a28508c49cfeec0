-- The users of the Command Database, `log`: one a box, who may do what that box does and no more. Run once, before `migrate`, in
-- an empty database, by whoever owns it; `migrate` is run by the same. The passwords are to be replaced.
CREATE ROLE log_append NOLOGIN;
CREATE ROLE log_relay NOLOGIN;
CREATE ROLE log_handler NOLOGIN;
CREATE ROLE command_service LOGIN PASSWORD 'COMMAND_SERVICE_PASSWORD' IN ROLE log_append, log_relay;
CREATE ROLE event_handler LOGIN PASSWORD 'EVENT_HANDLER_PASSWORD' IN ROLE log_handler;
