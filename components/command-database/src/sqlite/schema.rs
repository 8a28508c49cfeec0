//! The file: its tables, and what is checked before anything in it is trusted.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig, params};
use uuid::Uuid;

use super::failure::{Failure, Result, name};
use crate::Error;

/// "Dlog": tells a log from other SQLite files.
const APPLICATION_ID: u32 = 0x446c_6f67;
/// Of the tables below. The first one had no index of streams that may lag behind.
const FORMAT: u32 = 2;
const FORMAT_FIRST: u32 = 1;
/// SQLite up to 3.51.2 can lose what a write-ahead log held when it starts over.
const ENGINE_MIN: i32 = 3_051_003;
const PAGE_BYTES: u32 = 4096;
/// Only another process can be in the way, for a moment: one that verifies, or backs up.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Names are interned: an event row holds small integers. A stream's events are linked backward by `back`, with a mark
/// every [`MARK_EVERY`](super::MARK_EVERY) versions to enter long streams by; there is no index on (stream, version).
///
/// `streams` may lag behind the events: it has what came up to `stream_index.position`, and of what came later some. A stream
/// that it does not have is in `new_streams`.
///
/// In `events`: `back` = how many positions back the stream's previous event is, NULL for the first; `recorded_at` = in
/// microseconds after the first epoch began; `decided_ago` = that minus the time that the decision saw; `event_id` NULL =
/// derived from command and `command_index`; `correlation`, `causation` NULL = the command's id; `trace` NULL = the trace
/// named like the command, without parent, state, not sampled. Small numbers are small on disk, NULL takes one byte. The payload
/// comes last, so that what stands before it is read without it.
const TABLES: &str = "
CREATE TABLE new_streams (stream INTEGER PRIMARY KEY, category INTEGER NOT NULL, id TEXT NOT NULL) STRICT;
CREATE TABLE stream_index (only INTEGER PRIMARY KEY CHECK (only = 1), position INTEGER NOT NULL) STRICT;
INSERT INTO stream_index VALUES (1, 0);
CREATE TABLE lineage (ordinal INTEGER PRIMARY KEY, epoch BLOB NOT NULL UNIQUE, first INTEGER NOT NULL,
    began INTEGER NOT NULL) STRICT;
CREATE TABLE categories (category INTEGER PRIMARY KEY, tenant TEXT NOT NULL, aggregate TEXT NOT NULL,
    UNIQUE (tenant, aggregate)) STRICT;
CREATE TABLE event_types (type INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL,
    UNIQUE (name, version)) STRICT;
CREATE TABLE principals (principal INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE streams (stream INTEGER PRIMARY KEY, category INTEGER NOT NULL, id TEXT NOT NULL,
    version INTEGER NOT NULL, last_position INTEGER NOT NULL, UNIQUE (category, id)) STRICT;
CREATE TABLE stream_marks (stream INTEGER, version INTEGER, position INTEGER NOT NULL,
    PRIMARY KEY (stream, version)) STRICT, WITHOUT ROWID;
CREATE TABLE events (position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL, back INTEGER,
    type INTEGER NOT NULL, command_events INTEGER NOT NULL, command_index INTEGER NOT NULL, principal INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL, decided_ago INTEGER NOT NULL, checksum INTEGER NOT NULL, command_id BLOB NOT NULL,
    event_id BLOB, correlation BLOB, causation BLOB, trace BLOB, hash BLOB NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE TRIGGER events_do_not_change BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events do not change'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are not deleted'); END;
CREATE TABLE idempotency (key BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, command_id BLOB NOT NULL,
    first INTEGER, events INTEGER NOT NULL, version INTEGER, head INTEGER, refusal BLOB,
    elapsed INTEGER NOT NULL, checksum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (stream INTEGER PRIMARY KEY, version INTEGER NOT NULL, checksum INTEGER NOT NULL,
    state_shape BLOB NOT NULL, state BLOB NOT NULL) STRICT;
CREATE TABLE relay (only INTEGER PRIMARY KEY CHECK (only = 1), token INTEGER NOT NULL, cursor INTEGER) STRICT;
CREATE TABLE clock (only INTEGER PRIMARY KEY CHECK (only = 1), elapsed INTEGER NOT NULL) STRICT;
INSERT INTO relay VALUES (1, 0, NULL);
INSERT INTO clock VALUES (1, 0);
";

/// What the first format lacks, where nothing lags behind.
const SINCE_FIRST: &str = "
CREATE {temporary} TABLE new_streams (stream INTEGER PRIMARY KEY, category INTEGER NOT NULL, id TEXT NOT NULL) STRICT;
CREATE {temporary} TABLE stream_index (only INTEGER PRIMARY KEY CHECK (only = 1), position INTEGER NOT NULL) STRICT;
INSERT INTO stream_index SELECT 1, coalesce(max(position), 0) FROM events;
";

/// What a new log begins with.
pub(super) struct FirstEpoch {
    pub(super) id: Uuid,
    /// Wall clock, microseconds since 1970.
    pub(super) began: i64,
}

/// Makes the log where there is none, and refuses what is no log before SQLite touches it.
pub(super) fn prepare(path: &Path, first_epoch: impl FnOnce() -> FirstEpoch) -> std::result::Result<(), Error> {
    if rusqlite::version_number() < ENGINE_MIN {
        return Err(Error::EngineTooOld { found: rusqlite::version().to_owned() });
    }
    let file_error = |source| Error::File { log: name(path), source };
    if path.try_exists().map_err(file_error)? { inspect(path) } else { create(path, first_epoch()) }
}

/// Looks at the header with our own eyes: opening a foreign file with SQLite could already change what lies beside it.
pub(super) fn inspect(path: &Path) -> std::result::Result<(), Error> {
    let file_error = |source| Error::File { log: name(path), source };
    let foreign = |found: String| Error::Foreign { log: name(path), found };
    let mut header = Vec::new();
    File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(file_error)?;
    let field = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign(format!("its first {} bytes are no SQLite header", header.len())));
    }
    match (field(68), field(60)) {
        (Some(APPLICATION_ID), Some(FORMAT_FIRST..=FORMAT)) => Ok(()),
        (Some(APPLICATION_ID), Some(found)) if found > FORMAT => {
            Err(Error::FormatTooNew { log: name(path), found, format_max: FORMAT })
        }
        (Some(APPLICATION_ID), found) => Err(foreign(format!("its format is {found:?}"))),
        (found, _) => Err(foreign(format!("its application id is {found:x?}"))),
    }
}

/// Makes the whole file beside its place and then moves it there: a crash leaves no half of a log under the log's name.
fn create(path: &Path, epoch: FirstEpoch) -> std::result::Result<(), Error> {
    let file_error = |source| Error::File { log: name(path), source };
    let draft = PathBuf::from(format!("{}.new", path.display()));
    for leftover in [draft.clone(), PathBuf::from(format!("{}-journal", draft.display()))] {
        match std::fs::remove_file(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(error)),
            _ => {}
        }
    }
    // SQLite would let every user read it. What it makes beside a file gets that file's rights.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(file_error)?;
    fill(&draft, epoch).map_err(|failure| failure.while_opening(path))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(file_error)
}

fn fill(draft: &Path, epoch: FirstEpoch) -> Result<()> {
    let connection = Connection::open(draft)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(TABLES)?;
    connection.execute("INSERT INTO lineage VALUES (1, ?1, 1, ?2)", params![epoch.id.as_bytes(), epoch.began])?;
    connection.execute_batch("COMMIT")?;
    // The mode is part of the file.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| Failure::Engine(error))
}

/// A connection that may write. Checkpoints are asked for by name, never made by a commit.
pub(super) fn connect_writing(path: &Path) -> Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, -32_768)?;
    if format_of(&connection)? == FORMAT_FIRST {
        let tables = SINCE_FIRST.replace("{temporary}", "");
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {tables} PRAGMA user_version = {FORMAT}; COMMIT"))?;
    }
    Ok(connection)
}

/// A connection that reads only.
pub(super) fn connect_reading(path: &Path) -> Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, -16_384)?;
    if format_of(&connection)? == FORMAT_FIRST {
        // Nobody has written to it since: what it lacks is made up beside it.
        connection.execute_batch(&SINCE_FIRST.replace("{temporary}", "TEMP"))?;
    }
    Ok(connection)
}

fn format_of(connection: &Connection) -> Result<u32> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// `cache` as SQLite has it: negative, in KiB, taken only as it is used.
fn connect(path: &Path, access: OpenFlags, cache: i32) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // Plans are for any values: otherwise a kept statement is planned anew whenever a value says something else about a table.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", cache)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Failure::corrupt(0, format!("its journal mode is {mode}, not wal")));
    }
    Ok(connection)
}
