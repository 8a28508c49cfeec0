//! One suite for each contract of a box. Every implementation passes it, and every suite comes with implementations that are
//! broken on purpose, each of which fails the one test that is about it.

pub mod command_service;
pub mod event_store;
pub mod message_queue;
pub mod query_database;
pub mod query_service;
