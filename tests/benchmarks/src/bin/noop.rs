//! The baseline of commands: the same HTTP stack with the same settings, JSON in and out, and nothing done. With a file
//! and microseconds named, it waits for so long before each answer, writes 4 KiB into the file and syncs: what one client's
//! requests and its disk take together, when the disk is asked as often as by a system that has something to do.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program of its own, outside the boxes")]

use std::{
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use benchmarks_baseline::serve;
use serde::{Deserialize, Serialize};

#[path = "baseline/serve.rs"]
mod benchmarks_baseline;

#[derive(Deserialize)]
#[allow(dead_code, reason = "read so that the text is parsed as a command is")]
struct Line {
    stock_code: String,
    description: Option<String>,
    quantity: i64,
    price: String,
    time: String,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read so that the text is parsed as a command is")]
struct Fields {
    customer: Option<String>,
    country: Option<String>,
    lines: Option<Vec<Line>>,
    amount: Option<String>,
    carrier: Option<String>,
    note: Option<String>,
}

#[derive(Serialize)]
struct Event {
    id: &'static str,
    r#type: &'static str,
    version: u64,
    position: u64,
}

#[derive(Serialize)]
struct Answer {
    command_id: &'static str,
    stream: String,
    version: u64,
    trace_id: &'static str,
    events: [Event; 1],
}

/// A file that has its space already, where to write next, and how long to wait before.
type Disk = Arc<Mutex<(File, u64, Duration)>>;

const PAGES: u64 = 16_384;

fn sync(disk: &Disk) -> std::io::Result<()> {
    let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
    let (file, page, pause) = &mut *disk;
    let asked = Instant::now();
    while asked.elapsed() < *pause {
        std::hint::spin_loop();
    }
    *page = (*page + 1) % PAGES;
    file.write_all_at(&[1; 4096], *page * 4096)?;
    file.sync_data()
}

async fn command(
    State(disk): State<Option<Disk>>,
    Path((aggregate, id, _command)): Path<(String, String, String)>,
    Json(_fields): Json<Fields>,
) -> (StatusCode, Json<Answer>) {
    let event =
        Event { id: "0199ab10-5c20-7b55-a1c2-90d4e7f3b6aa", r#type: "order.placed.v1", version: 1, position: 4711 };
    let answer = Answer {
        command_id: "0199ab10-5c1f-7a31-8f00-3b9d5e2c7a10",
        stream: format!("{aggregate}/{id}"),
        version: 1,
        trace_id: "0af7651916cd43dd8448eb211c80319c",
        events: [event],
    };
    let status = match disk.as_ref().map(sync) {
        None | Some(Ok(())) => StatusCode::CREATED,
        Some(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(answer))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let disk = match arguments.next() {
        Some(path) => {
            let pause =
                arguments.next().and_then(|pause| pause.parse().ok()).map_or(Duration::ZERO, Duration::from_micros);
            let mut file = File::create(path)?;
            file.write_all(&vec![0; PAGES as usize * 4096]).and_then(|()| file.sync_all())?;
            Some(Arc::new(Mutex::new((file, 0, pause))))
        }
        None => None,
    };
    serve(Router::new().route("/commands/{aggregate}/{id}/{command}", post(command)).with_state(disk)).await
}
