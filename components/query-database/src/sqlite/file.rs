//! The file: how it is told from others, made, and opened.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use crate::Error;

/// "DpRw" in the file's header, where SQLite keeps a word for the application that the file belongs to.
const APPLICATION_ID: u32 = 0x4470_5277;
const FORMAT: u32 = 1;
const ENGINE_LEAST: i32 = 3_051_003;

/// What does not belong to one read model. Each generation has a table of its own beside these.
///
/// A checkpoint is apart from what describes its generation, since every commit rewrites its row: it stays small.
const SCHEMA: &str = "
    CREATE TABLE diptych_generations (
        generation INTEGER PRIMARY KEY AUTOINCREMENT,
        read_model TEXT NOT NULL,
        version INTEGER NOT NULL,
        shape BLOB NOT NULL,
        definition TEXT NOT NULL
    ) STRICT;
    CREATE TABLE diptych_lineages (
        lineage INTEGER PRIMARY KEY AUTOINCREMENT,
        epochs TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE diptych_checkpoints (
        generation INTEGER PRIMARY KEY REFERENCES diptych_generations,
        serving INTEGER NOT NULL,
        position INTEGER,
        lineage INTEGER REFERENCES diptych_lineages,
        head INTEGER,
        head_seen_at INTEGER NOT NULL,
        clock INTEGER NOT NULL,
        held TEXT,
        owner INTEGER NOT NULL,
        hash BLOB NOT NULL,
        read_model TEXT NOT NULL,
        forked INTEGER REFERENCES diptych_lineages
    ) STRICT;
    CREATE UNIQUE INDEX diptych_serving ON diptych_checkpoints (read_model) WHERE serving;
    ANALYZE;
";

/// Makes the file where there is none. Refuses one that is not ours before SQLite gets to see it, so that it stays as it is.
pub(super) fn prepare(path: &Path) -> Result<(), Error> {
    if rusqlite::version_number() < ENGINE_LEAST {
        return Err(Error::Engine { found: rusqlite::version() });
    }
    match header(path) {
        Ok(header) if header.is_empty() => create(path),
        Ok(header) => check(path, &header),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// Refuses what is no file of ours, without making or touching one.
pub(super) fn inspect(path: &Path) -> Result<(), Error> {
    check(path, &header(path).map_err(|source| Error::File { path: path.to_owned(), source })?)
}

fn header(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(100);
    fs::File::open(path)?.take(100).read_to_end(&mut header)?;
    Ok(header)
}

fn check(path: &Path, header: &[u8]) -> Result<(), Error> {
    // Offsets of "the database file format", https://www.sqlite.org/fileformat2.html, section 1.3.
    if word(header, 68) != Some(APPLICATION_ID) || !header.starts_with(b"SQLite format 3\0") {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    match word(header, 60) {
        Some(FORMAT) => Ok(()),
        found => Err(Error::Format { path: path.to_owned(), found: found.unwrap_or(0), known: FORMAT }),
    }
}

fn word(header: &[u8], offset: usize) -> Option<u32> {
    header.get(offset..offset + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// Made beside its place and then moved there: a crash in between leaves no file that is ours by half.
fn create(path: &Path) -> Result<(), Error> {
    let system = |source| Error::File { path: path.to_owned(), source };
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(system(error)),
        _ => {}
    }
    // SQLite would let every user read it. What it makes beside a file gets that file's rights.
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(system)?;
    let made = Connection::open(&unfinished).and_then(|connection| {
        connection.execute_batch(&format!(
            "BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {SCHEMA} COMMIT;"
        ))?;
        connection.close().map_err(|(_, error)| error)
    });
    made.map_err(|source| opening(path, source))?;
    fs::rename(&unfinished, path).map_err(system)
}

/// The one connection that writes, or moves pages from the WAL into the file.
pub(super) fn writer(path: &Path, cache_bytes: u64) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        keep_plans(&connection)?;
        // NORMAL: a power cut may lose the last commits, rows together with their checkpoint, and the log has them still.
        // FILE: an index is sorted in memory as far as the cache goes, and no further.
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;
             PRAGMA cache_size = -{}; PRAGMA temp_store = FILE;",
            cache_bytes / 1024
        ))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        if !has_forked(&connection)? {
            connection.execute_batch(FORKED)?;
        }
        Ok(connection)
    };
    open().map_err(|source| opening(path, source))
}

/// What files of the first builds lack. Those builds ignore it, so that going back to them stays possible: the format is the
/// same.
const FORKED: &str = "ALTER TABLE diptych_checkpoints ADD COLUMN forked INTEGER REFERENCES diptych_lineages";

/// Whether a generation can be marked as forked.
pub(super) fn has_forked(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM pragma_table_info('diptych_checkpoints') WHERE name = 'forked'")?.exists([])
}

/// Plans are for any values. Without this SQLite looks at the values bound, and prepares a join anew for each other value,
/// which takes several times as long as running it.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Lets the file grow no further than `bytes_max`; what it has already stays.
pub(super) fn limit(connection: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = bytes_max / page_bytes.unsigned_abs().max(1);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

/// A connection that reads only.
pub(super) fn reader(path: &Path, cache_bytes: u64) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        keep_plans(&connection)?;
        connection
            .execute_batch(&format!("PRAGMA cache_size = -{}; PRAGMA temp_store = MEMORY;", cache_bytes / 1024))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(connection)
    };
    open().map_err(|source| opening(path, source))
}

/// Statements that a connection keeps prepared: of the writer some for each generation and set of columns that change together.
const STATEMENTS_MAX: usize = 256;

fn opening(path: &Path, source: rusqlite::Error) -> Error {
    match kind(&source) {
        Kind::Damaged => Error::Damaged { database: name(path), source: source.into() },
        Kind::Full => Error::StorageFull { database: name(path) },
        Kind::Other => Error::Open { database: name(path), source: source.into() },
    }
}

pub(super) fn reading(path: &Path, source: rusqlite::Error) -> Error {
    match kind(&source) {
        Kind::Damaged => Error::Damaged { database: name(path), source: source.into() },
        Kind::Full | Kind::Other => Error::Read { database: name(path), source: source.into() },
    }
}

/// Of a failure before the commit itself: nothing is stored.
pub(super) fn writing(path: &Path, source: rusqlite::Error) -> Error {
    match kind(&source) {
        Kind::Damaged => Error::Damaged { database: name(path), source: source.into() },
        Kind::Full => Error::StorageFull { database: name(path) },
        Kind::Other => Error::Write { database: name(path), source: source.into() },
    }
}

/// Of a failure of the commit itself. A full disk is known to have stored nothing: the commit's last frame is missing.
pub(super) fn committing(path: &Path, source: rusqlite::Error) -> Error {
    match kind(&source) {
        Kind::Full => Error::StorageFull { database: name(path) },
        Kind::Damaged | Kind::Other => Error::Commit { database: name(path), source: source.into() },
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

enum Kind {
    Damaged,
    Full,
    Other,
}

fn kind(source: &rusqlite::Error) -> Kind {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Damaged,
        Some(ErrorCode::DiskFull) => Kind::Full,
        _ => Kind::Other,
    }
}
