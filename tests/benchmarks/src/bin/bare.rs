//! What a durable command costs with next to nothing around it: the no-op's HTTP, and one thread that commits whatever waits
//! to an SQLite log. No decisions, no versions, no hash chain, no idempotency, no reader. A bound for P1, not a peer.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program of its own, outside the boxes")]

use std::{collections::HashMap, sync::mpsc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use benchmarks_baseline::serve;
use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

#[path = "baseline/serve.rs"]
mod benchmarks_baseline;

/// Most commands of one commit.
const BATCH_MAX: usize = 1024;

struct Command {
    stream: String,
    kind: i64,
    payload: Box<RawValue>,
    done: oneshot::Sender<i64>,
}

#[derive(Serialize)]
struct Event {
    id: &'static str,
    r#type: &'static str,
    version: u64,
    position: i64,
}

#[derive(Serialize)]
struct Answer {
    command_id: &'static str,
    stream: String,
    version: u64,
    trace_id: &'static str,
    events: [Event; 1],
}

async fn command(
    State(log): State<mpsc::Sender<Command>>,
    Path((aggregate, id, command)): Path<(String, String, String)>,
    Json(payload): Json<Box<RawValue>>,
) -> Result<(StatusCode, Json<Answer>), StatusCode> {
    let (done, position) = oneshot::channel();
    let stream = format!("{aggregate}/{id}");
    let kind = i64::try_from(command.len()).unwrap_or(0);
    let command = Command { stream: stream.clone(), kind, payload, done };
    log.send(command).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let position = position.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let event = Event { id: "0199ab10-5c20-7b55-a1c2-90d4e7f3b6aa", r#type: "order.placed.v1", version: 1, position };
    let answer = Answer {
        command_id: "0199ab10-5c1f-7a31-8f00-3b9d5e2c7a10",
        stream,
        version: 1,
        trace_id: "0af7651916cd43dd8448eb211c80319c",
        events: [event],
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

fn write(database: &Connection, commands: &mpsc::Receiver<Command>) -> rusqlite::Result<()> {
    let (mut streams, mut position) = (HashMap::new(), 0);
    let mut event = database.prepare("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")?;
    let mut stream = database.prepare("INSERT INTO streams VALUES (?1, ?2)")?;
    while let Ok(first) = commands.recv() {
        let batch: Vec<Command> = std::iter::once(first).chain(commands.try_iter().take(BATCH_MAX - 1)).collect();
        database.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for command in &batch {
            let next = i64::try_from(streams.len()).unwrap_or(0) + 1;
            let number = *streams.entry(command.stream.clone()).or_insert(next);
            if number == next {
                stream.execute(params![number, command.stream])?;
            }
            position += 1;
            event.execute(params![position, number, command.kind, command.payload.get().as_bytes()])?;
        }
        database.prepare_cached("COMMIT")?.execute([])?;
        for (command, position) in batch.into_iter().zip(position - 1..) {
            // Who asked may be gone.
            let _ = command.done.send(position);
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let database = Connection::open(directory.path().join("log.sqlite3"))?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000;
         CREATE TABLE events (position INTEGER PRIMARY KEY, stream INTEGER, type INTEGER, payload BLOB);
         CREATE TABLE streams (stream INTEGER PRIMARY KEY, name TEXT);",
    )?;
    let (log, commands) = mpsc::channel();
    std::thread::spawn(move || write(&database, &commands));
    serve(Router::new().route("/commands/{aggregate}/{id}/{command}", post(command)).with_state(log)).await?;
    Ok(())
}
