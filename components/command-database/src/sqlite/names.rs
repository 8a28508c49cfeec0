//! Names interned as numbers: by name where one writes, by number where one reads.

use std::{collections::VecDeque, sync::Arc};

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
const NAMES_OF_STREAMS: &str = "SELECT stream, category, id FROM streams WHERE stream BETWEEN ?1 AND ?2
    UNION ALL SELECT stream, category, id FROM new_streams WHERE stream BETWEEN ?1 AND ?2 ORDER BY stream";

/// What a reader has seen. A number that was ever committed keeps its name, so this is never stale.
#[derive(Default)]
pub(super) struct KnownNames {
    streams: HashMap<i64, StreamId>,
    begun: Begun,
    categories: HashMap<i64, (Tenant, Arc<str>)>,
    types: HashMap<i64, EventType>,
    principals: HashMap<i64, Principal>,
}

/// Names of streams that began one after the other. They are numbered as they begin, so that whoever reads the log from one
/// end to the other asks for these: the next ones are looked up together, for little more than one of them costs.
#[derive(Default)]
struct Begun {
    first: i64,
    names: VecDeque<StreamId>,
    /// The last number that was looked up by itself.
    alone: i64,
}

/// Names looked up together.
const BEGUN_AT_ONCE: i64 = 64;
/// Names kept of those that began one after the other: so few that they stay in the processor's cache.
const BEGUN_MAX: usize = 4096;

impl Begun {
    fn find(&self, number: i64) -> Option<&StreamId> {
        self.names.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Whether `number` comes right after what was looked up before.
    fn goes_on_at(&mut self, number: i64) -> bool {
        if number == self.next() {
            return true;
        }
        let begins = number == self.alone + 1;
        if begins {
            self.names.clear();
            self.first = number;
        }
        begins
    }

    fn next(&self) -> i64 {
        self.first.saturating_add_unsigned(self.names.len() as u64)
    }

    fn push(&mut self, stream: StreamId) {
        if self.names.len() == BEGUN_MAX {
            self.names.pop_front();
            self.first += 1;
        }
        self.names.push_back(stream);
    }
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
        let known = self.known.begun.find(number).or_else(|| self.known.streams.get(&number));
        if let Some(stream) = known {
            return Ok(Some(stream.clone()));
        }
        if self.known.begun.goes_on_at(number) {
            self.look_ahead(number)?;
            if let Some(stream) = self.known.begun.find(number) {
                return Ok(Some(stream.clone()));
            }
        }
        let mut statement = self.connection.prepare_cached(NAME_OF_STREAM)?;
        let row: Option<(i64, Arc<str>)> =
            statement.query_row([number], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((category, id)) = row else { return Ok(None) };
        let Some((tenant, aggregate)) = self.category(category)? else { return Ok(None) };
        let stream = StreamId { tenant, aggregate, id };
        self.know_stream(number, &stream);
        self.known.begun.alone = number;
        Ok(Some(stream))
    }

    /// Looks up the names from `number` on, up to the first that is not there or is damaged: that one is for whoever wants it.
    fn look_ahead(&mut self, number: i64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(NAMES_OF_STREAMS)?;
        let mut rows = statement.query([number, number.saturating_add(BEGUN_AT_ONCE - 1)])?;
        while let Ok(Some(row)) = rows.next() {
            let (found, category, id): (i64, _, _) = match (row.get(0), row.get(1), row.get(2)) {
                (Ok(found), Ok(category), Ok(id)) => (found, category, id),
                _ => return Ok(()),
            };
            let Ok(Some((tenant, aggregate))) = self.category(category) else { return Ok(()) };
            if self.known.begun.next() != found {
                return Ok(());
            }
            self.known.begun.push(StreamId { tenant, aggregate, id });
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A log's tables of names, with streams of these numbers: even ones are not in the index yet.
    fn named(numbers: impl IntoIterator<Item = i64>) -> Connection {
        let connection = Connection::open_in_memory().expect("in memory");
        let tables =
            "CREATE TABLE categories (category INTEGER PRIMARY KEY, tenant TEXT NOT NULL, aggregate TEXT NOT NULL);
            CREATE TABLE streams (stream INTEGER PRIMARY KEY, category INTEGER NOT NULL, id TEXT NOT NULL);
            CREATE TABLE new_streams (stream INTEGER PRIMARY KEY, category INTEGER NOT NULL, id TEXT NOT NULL);
            INSERT INTO categories VALUES (1, 'default', 'order');";
        connection.execute_batch(tables).expect("made");
        for number in numbers {
            let table = if number % 2 == 0 { "new_streams" } else { "streams" };
            let statement = format!("INSERT INTO {table} VALUES (?1, 1, ?2)");
            connection.execute(&statement, params![number, format!("o-{number}")]).expect("named");
        }
        connection
    }

    fn name(names: &mut NamesByNumber<'_>, number: i64) -> Option<String> {
        names.stream(number).expect("readable").map(|stream| stream.id.to_string())
    }

    #[test]
    fn whatever_the_order_a_stream_has_its_own_name_or_none() {
        let is_there = |number: i64| number % 700 != 0;
        let connection = named((1..=6_000).filter(|number| is_there(*number)));
        let forward = 1..=6_010;
        let scattered = (1..=2_000).map(|step| step * 2_711 % 6_010 + 1);
        let back_and_forth = (3_000..3_400).flat_map(|number| [number, number - 2_500, number + 1]);
        let known = &mut KnownNames::default();
        let mut names = NamesByNumber { connection: &connection, known };
        for number in forward.chain(scattered).chain(back_and_forth).chain(1..=6_010) {
            let expected = (is_there(number) && number <= 6_000).then(|| format!("o-{number}"));
            assert_eq!(name(&mut names, number), expected, "stream {number}");
        }
        assert!(names.known.begun.names.len() <= BEGUN_MAX);
    }

    #[test]
    fn a_damaged_name_is_the_trouble_of_its_own_stream_alone() {
        let connection = named(1..=10);
        connection.execute("UPDATE streams SET id = x'ff' WHERE stream = 5", []).expect("damaged");
        let mut known = KnownNames::default();
        let mut names = NamesByNumber { connection: &connection, known: &mut known };
        for number in (1..=10).filter(|number| *number != 5) {
            assert_eq!(name(&mut names, number), Some(format!("o-{number}")));
        }
        assert!(names.stream(5).is_err());
    }
}
