//! The baseline of commands: the same HTTP stack with the same settings, JSON in and out, and nothing done.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program of its own, outside the boxes")]

use axum::{Json, Router, extract::Path, http::StatusCode, routing::post};
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

async fn command(
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
    (StatusCode::CREATED, Json(answer))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    serve(Router::new().route("/commands/{aggregate}/{id}/{command}", post(command))).await
}
