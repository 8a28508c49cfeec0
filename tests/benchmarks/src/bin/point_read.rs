//! The baseline of point reads: the same HTTP stack, and one prepared SQLite read of a row by its key.
//!
//! Usage: `point_read ROWS`; makes a file with that many rows and serves `/queries/order_summary/{key}`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program of its own, outside the boxes")]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use benchmarks_baseline::serve;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

#[path = "baseline/serve.rs"]
mod benchmarks_baseline;

struct Readers {
    path: PathBuf,
    made: AtomicUsize,
    slots: Vec<Mutex<Option<Connection>>>,
}

thread_local! {
    static SLOT: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

impl Readers {
    fn read(&self, key: &str) -> rusqlite::Result<Option<String>> {
        let slot = SLOT.get().unwrap_or_else(|| {
            let slot = self.made.fetch_add(1, Ordering::Relaxed) % self.slots.len();
            SLOT.set(Some(slot));
            slot
        });
        let mut connection = self.slots[slot].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if connection.is_none() {
            *connection = Some(Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?);
        }
        let Some(connection) = connection.as_ref() else { return Ok(None) };
        let mut statement = connection.prepare_cached("SELECT body FROM rows WHERE key = ?1")?;
        statement.query_row([key], |row| row.get(0)).optional()
    }
}

async fn row(State(readers): State<Arc<Readers>>, Path(key): Path<String>) -> Response {
    match readers.read(&key) {
        Ok(Some(body)) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn fill(path: &std::path::Path, rows: usize) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE rows (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    )?;
    let transaction = connection.transaction()?;
    for index in 0..rows {
        let body = format!(
            r#"{{"invoice":"b-0-{index}","customer":"13085","country":"United Kingdom","status":"placed","units":24,"total":"166.800","placed_at":"2009-12-01T07:45:00"}}"#
        );
        transaction.execute("INSERT INTO rows VALUES (?1, ?2)", (format!("b-0-{index}"), body))?;
    }
    transaction.commit()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(10_000);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.sqlite3");
    fill(&path, rows)?;
    let slots = (0..16).map(|_| Mutex::new(None)).collect();
    let readers = Arc::new(Readers { path, made: AtomicUsize::new(0), slots });
    serve(Router::new().route("/queries/order_summary/{key}", get(row)).with_state(readers)).await?;
    Ok(())
}
