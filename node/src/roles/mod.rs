//! How a process makes each box: one short file a box, so that a process may run some of them or all.

pub(crate) mod api_gateway;
pub(crate) mod command_database;
pub(crate) mod command_service;
pub(crate) mod event_handler;
pub(crate) mod load_balancer;
pub(crate) mod message_queue;
pub(crate) mod query_database;
pub(crate) mod query_service;
