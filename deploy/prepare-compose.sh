#!/usr/bin/env bash
# Makes what compose.yaml needs and nobody may share: certificates, passwords, addresses with passwords, and the key of page
# tokens, in deploy/made, and deploy/.env. Run once; remove both to begin anew, with the volumes.
set -euo pipefail
umask 077
cd "$(dirname "$0")"
[[ ! -e made ]] || { echo 'deploy/made is there already: remove it, deploy/.env and the volumes to begin anew' >&2; exit 1; }

random() { openssl rand -hex "$1"; }
command_service=$(random 16) query_service=$(random 16) event_handler_log=$(random 16) event_handler_rows=$(random 16)
log_owner=$(random 16) rows_owner=$(random 16) relay=$(random 16) handler=$(random 16)
log=command-database:5432/log rows=query-database:5432/rows

mkdir made
./certificates.sh made/certificates shop
cd made
secret() { printf '%s' "$2" >"$1"; }
servers() { printf 'nats://%s@queue-1:4222,nats://%s@queue-2:4222,nats://%s@queue-3:4222' "$1" "$1" "$1"; }
secret log-owner-password "$log_owner"
secret rows-owner-password "$rows_owner"
secret migrate-command-database-url "postgres://owner:$log_owner@$log"
secret migrate-query-database-url "postgres://owner:$rows_owner@$rows"
secret command-service-command-database-url "postgres://command_service:$command_service@$log"
secret command-service-message-queue-servers "$(servers "relay:$relay")"
secret event-handler-command-database-url "postgres://event_handler:$event_handler_log@$log"
secret event-handler-query-database-url "postgres://event_handler:$event_handler_rows@$rows"
secret event-handler-message-queue-servers "$(servers "handler:$handler")"
secret query-service-query-database-url "postgres://query_service:$query_service@$rows"
secret page-token-key "$(random 32)"
sed -e "s/COMMAND_SERVICE_PASSWORD/$command_service/" -e "s/EVENT_HANDLER_PASSWORD/$event_handler_log/" \
    ../postgres/command-database.sql >command-database.sql
sed -e "s/QUERY_SERVICE_PASSWORD/$query_service/" -e "s/EVENT_HANDLER_PASSWORD/$event_handler_rows/" \
    ../postgres/query-database.sql >query-database.sql

# The containers' user has to read these; root gives them away, everybody else lends the containers their own number.
user=$(id -u):$(id -g)
if [[ $(id -u) -eq 0 ]]; then
    user=65532:65532
    chown -R "$user" .
fi
printf 'DIPTYCH_USER=%s\nNATS_RELAY_PASSWORD=%s\nNATS_HANDLER_PASSWORD=%s\n' "$user" "$relay" "$handler" >../.env
echo 'deploy/made and deploy/.env are there; now: docker compose -f deploy/compose.yaml up --build'
