//! What each setting means, and what it may be.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Origin, PREFIX};

/// One setting.
pub(crate) struct Key {
    /// Its path.
    pub(crate) name: &'static str,
    /// What it means, with its unit.
    pub(crate) meaning: &'static str,
    /// The least that a number may be.
    pub(crate) least: u64,
    /// Whether its value may hold what only this process is to know.
    pub(crate) is_secret: bool,
}

const fn key(name: &'static str, least: u64, meaning: &'static str) -> Key {
    Key { name, meaning, least, is_secret: false }
}

const fn secret(name: &'static str, meaning: &'static str) -> Key {
    Key { name, meaning, least: 0, is_secret: true }
}

/// Every setting, in the order of their names.
pub(crate) const KEYS: &[Key] = &[
    key("admin.listen", 0, "where status, metrics and health are served, IP:PORT; loopback only; --admin"),
    key("api_gateway.command_services", 0, "where Command Services of other processes are, HOST:PORT, by commas"),
    key("api_gateway.error_pages_url", 0, "where the pages about errors are; empty for this process's own"),
    key("api_gateway.instances", 1, "how many gateways run"),
    key("api_gateway.listen", 0, "where Load Balancers of other processes reach it, IP:PORT; loopback or TLS"),
    key("api_gateway.query_services", 0, "where Query Services of other processes are, HOST:PORT, by commas"),
    key("api_gateway.requests_max", 1, "most requests under way in one gateway; more are answered 503"),
    key("command_database.ca_path", 0, "file of the authorities by which that PostgreSQL is believed: with it, TLS"),
    key(
        "command_database.idempotency_hours",
        24,
        "how long idempotency keys are remembered, in hours that the log was open",
    ),
    secret(
        "command_database.url",
        "the PostgreSQL that has the log, where boxes are apart: postgres://USER@HOST:PORT/DATABASE",
    ),
    key("command_service.cache_bytes_max", 0, "most bytes of aggregates in memory"),
    key("command_service.commands_max", 1, "most commands under way; more are answered 503"),
    key("command_service.listen", 0, "where API Gateways of other processes reach it, IP:PORT; loopback or TLS"),
    key("command_service.shards", 0, "how many decide in parallel; 0 for one a core, four at most"),
    key("command_service.snapshot_events", 1, "events after which a stream gets another snapshot"),
    key("data", 0, "directory of the data; --data"),
    key("drain_delay_seconds", 0, "seconds that a process of several goes on after it has said that it will end"),
    key("event_handler.batch_events_max", 1, "most events in one commit of one read model"),
    key("event_handler.cached_bytes_max", 0, "most bytes of rows that each read model keeps in memory"),
    key(
        "insecure_no_authentication",
        0,
        "true: the interface may be reached by others although nobody is asked who he is",
    ),
    key("load_balancer.api_gateways", 0, "where API Gateways of other processes are, HOST:PORT, by commas"),
    key(
        "load_balancer.behind_tls_proxy",
        0,
        "proxies that end TLS before it, addresses and networks by commas; nobody else is let in; --behind-tls-proxy",
    ),
    key("load_balancer.body_bytes_max", 1, "most bytes in the body of a request"),
    key("load_balancer.certificate_path", 0, "file of its certificate, for TLS with users"),
    key("load_balancer.connections_max", 1, "most connections at a time"),
    key("load_balancer.connections_per_address_max", 1, "most connections at a time from one address"),
    key("load_balancer.key_path", 0, "file of the key of load_balancer.certificate_path"),
    key("load_balancer.listen", 0, "where the interface is served, IP:PORT; loopback, TLS or proxies; --listen"),
    key("message_queue.bytes_max", 1, "most bytes of messages in memory"),
    key("message_queue.ca_path", 0, "file of the authorities by which NATS servers are believed: with it, TLS"),
    key("message_queue.certificate_path", 0, "file of the certificate that NATS is shown, if it asks for one"),
    key(
        "message_queue.event_type_prefix",
        0,
        "what comes before a type in CloudEvents: a reversed domain name and a full stop",
    ),
    key("message_queue.key_path", 0, "file of the key of message_queue.certificate_path"),
    key("message_queue.messages_max", 1, "most messages in memory"),
    key("message_queue.replicas", 1, "copies of the stream; fewer than three can lose what readers still want"),
    secret("message_queue.servers", "NATS servers, where boxes are apart: nats://HOST:PORT, by commas"),
    key(
        "migrate_at_start",
        0,
        "whether `serve` migrates a database of an older version, or none, by itself: true or false",
    ),
    key("query_database.ca_path", 0, "file of the authorities by which that PostgreSQL is believed: with it, TLS"),
    secret("query_database.read_urls", "replicas of the PostgreSQL that has the rows, by commas"),
    secret(
        "query_database.url",
        "the PostgreSQL that has the rows, where boxes are apart: postgres://USER@HOST:PORT/DATABASE",
    ),
    key("query_service.listen", 0, "where API Gateways of other processes reach it, IP:PORT; loopback or TLS"),
    key("query_service.page_size_max", 1, "most rows in a page, whatever page_size asks for"),
    secret(
        "query_service.page_token_key",
        "what seals page tokens where boxes are apart: 64 hexadecimal digits, the same everywhere",
    ),
    key("storage_free_bytes_min", 0, "bytes: an alert is raised while fewer are free where the data is"),
    key("tls.ca_path", 0, "file of the authorities that sign for processes of this application"),
    key("tls.certificate_path", 0, "file of the certificate that proves this process's roles to others; with it, TLS"),
    key("tls.key_path", 0, "file of the key of tls.certificate_path"),
];

/// The setting of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// How whoever set the value of `name` spells it.
pub(crate) fn spelling(name: &str, origin: &Origin, file: &str) -> String {
    match origin {
        Origin::Default => name.to_owned(),
        Origin::File => format!("{name} in {file}"),
        Origin::Environment => format!("{PREFIX}{}", name.replace('.', "__").to_ascii_uppercase()),
        Origin::Flag => match name {
            "load_balancer.listen" => "--listen".to_owned(),
            "admin.listen" => "--admin".to_owned(),
            "load_balancer.behind_tls_proxy" => "--behind-tls-proxy".to_owned(),
            other => format!("--{other}"),
        },
    }
}

/// An address to listen on. Names are not looked up, but everybody knows this one.
pub(crate) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let wrong = |_| D::Error::custom(format!("{text:?} is no address: write IP:PORT, as in 127.0.0.1:8080"));
    numeric.as_ref().unwrap_or(&text).parse().map_err(wrong)
}
