//! The embedded query database as its neighbours see it.

mod sqlite;
mod support;
