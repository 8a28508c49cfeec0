//! Names interned as numbers: by name where one writes, by number where one reads.

use std::sync::Arc;

use foldhash::HashMap;
use model::{EventType, Principal, StreamId, Tenant};
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::failure::Result;

/// Most entries of one cache; a fuller one starts over. Names of streams and principals are as many as users make them.
const ENTRIES_MAX: usize = 65_536;

pub(super) fn remember<K: Eq + std::hash::Hash, V>(cache: &mut HashMap<K, V>, key: K, value: V) {
    if cache.len() >= ENTRIES_MAX {
        cache.clear();
    }
    cache.insert(key, value);
}

/// The writer's side. What a transaction interns is forgotten when the transaction is rolled back: `clear`.
#[derive(Default)]
pub(super) struct NumbersByName {
    categories: HashMap<(Tenant, Arc<str>), i64>,
    types: HashMap<EventType, i64>,
    principals: HashMap<Principal, i64>,
}

impl NumbersByName {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The number of a tenant's aggregate type; `None` where it has no stream yet.
    pub(super) fn find_category(&mut self, connection: &Connection, stream: &StreamId) -> Result<Option<i64>> {
        let key = (stream.tenant.clone(), stream.aggregate.clone());
        if let Some(number) = self.categories.get(&key) {
            return Ok(Some(*number));
        }
        let found = find(
            connection,
            "SELECT category FROM categories WHERE tenant = ?1 AND aggregate = ?2",
            params![key.0.as_str(), key.1],
        )?;
        if let Some(number) = found {
            remember(&mut self.categories, key, number);
        }
        Ok(found)
    }

    pub(super) fn add_category(&mut self, connection: &Connection, stream: &StreamId) -> Result<i64> {
        let key = (stream.tenant.clone(), stream.aggregate.clone());
        let number = add(
            connection,
            "INSERT INTO categories (tenant, aggregate) VALUES (?1, ?2)",
            params![key.0.as_str(), key.1],
        )?;
        remember(&mut self.categories, key, number);
        Ok(number)
    }

    pub(super) fn event_type(&mut self, connection: &Connection, event_type: &EventType) -> Result<i64> {
        if let Some(number) = self.types.get(event_type) {
            return Ok(*number);
        }
        let key = params![event_type.name, event_type.version];
        let number = match find(connection, "SELECT type FROM event_types WHERE name = ?1 AND version = ?2", key)? {
            Some(number) => number,
            None => add(connection, "INSERT INTO event_types (name, version) VALUES (?1, ?2)", key)?,
        };
        remember(&mut self.types, event_type.clone(), number);
        Ok(number)
    }

    pub(super) fn principal(&mut self, connection: &Connection, principal: &Principal) -> Result<i64> {
        if let Some(number) = self.principals.get(principal) {
            return Ok(*number);
        }
        let key = params![principal.as_str()];
        let number = match find(connection, "SELECT principal FROM principals WHERE name = ?1", key)? {
            Some(number) => number,
            None => add(connection, "INSERT INTO principals (name) VALUES (?1)", key)?,
        };
        remember(&mut self.principals, principal.clone(), number);
        Ok(number)
    }
}

fn find(connection: &Connection, statement: &str, key: impl Params) -> Result<Option<i64>> {
    Ok(connection.prepare_cached(statement)?.query_row(key, |row| row.get(0)).optional()?)
}

fn add(connection: &Connection, statement: &str, key: impl Params) -> Result<i64> {
    Ok(connection.prepare_cached(statement)?.insert(key)?)
}

const NAME_OF_STREAM: &str = "SELECT category, id FROM streams WHERE stream = ?1
    UNION ALL SELECT category, id FROM new_streams WHERE stream = ?1 LIMIT 1";

/// What a reader has seen. A number that was ever committed keeps its name, so this is never stale.
#[derive(Default)]
pub(super) struct KnownNames {
    streams: HashMap<i64, StreamId>,
    categories: HashMap<i64, (Tenant, Arc<str>)>,
    types: HashMap<i64, EventType>,
    principals: HashMap<i64, Principal>,
}

/// The reader's side.
pub(super) struct NamesByNumber<'a> {
    pub(super) connection: &'a Connection,
    pub(super) known: &'a mut KnownNames,
}

impl NamesByNumber<'_> {
    /// The caller's own copy of a name serves all events of the stream.
    pub(super) fn know_stream(&mut self, number: i64, stream: &StreamId) {
        remember(&mut self.known.streams, number, stream.clone());
    }

    pub(super) fn stream(&mut self, number: i64) -> Result<Option<StreamId>> {
        if let Some(stream) = self.known.streams.get(&number) {
            return Ok(Some(stream.clone()));
        }
        let mut statement = self.connection.prepare_cached(NAME_OF_STREAM)?;
        let row: Option<(i64, Arc<str>)> =
            statement.query_row([number], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((category, id)) = row else { return Ok(None) };
        let Some((tenant, aggregate)) = self.category(category)? else { return Ok(None) };
        let stream = StreamId { tenant, aggregate, id };
        self.know_stream(number, &stream);
        Ok(Some(stream))
    }

    fn category(&mut self, number: i64) -> Result<Option<(Tenant, Arc<str>)>> {
        let statement = "SELECT tenant, aggregate FROM categories WHERE category = ?1";
        look_up(self.connection, &mut self.known.categories, statement, number, |row| {
            Ok((Tenant::new(row.get_ref(0)?.as_str()?), row.get(1)?))
        })
    }

    pub(super) fn event_type(&mut self, number: i64) -> Result<Option<EventType>> {
        let statement = "SELECT name, version FROM event_types WHERE type = ?1";
        look_up(self.connection, &mut self.known.types, statement, number, |row| {
            Ok(EventType { name: row.get(0)?, version: row.get(1)? })
        })
    }

    pub(super) fn principal(&mut self, number: i64) -> Result<Option<Principal>> {
        let statement = "SELECT name FROM principals WHERE principal = ?1";
        look_up(self.connection, &mut self.known.principals, statement, number, |row| {
            Ok(Principal::new(row.get_ref(0)?.as_str()?))
        })
    }
}

fn look_up<V: Clone>(
    connection: &Connection,
    known: &mut HashMap<i64, V>,
    statement: &str,
    number: i64,
    decode: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<V>,
) -> Result<Option<V>> {
    if let Some(value) = known.get(&number) {
        return Ok(Some(value.clone()));
    }
    let found = connection.prepare_cached(statement)?.query_row([number], decode).optional()?;
    if let Some(value) = &found {
        remember(known, number, value.clone());
    }
    Ok(found)
}
