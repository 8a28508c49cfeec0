//! P6: filling a read model from the log, and the same scan, parse and fold with nothing around it and nothing written.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use diptych::{Dev, Registry, Settings};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    quantity: i64,
    price: String,
}

#[derive(Deserialize)]
struct Placed {
    customer: Option<String>,
    country: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "parsed as the domain parses it")]
struct Paid {
    amount: String,
    note: Option<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "parsed as the domain parses it")]
struct Shipped {
    carrier: String,
    note: Option<String>,
}

struct Row {
    _customer: Option<String>,
    _country: String,
    status: &'static str,
    units: i64,
    total: i64,
}

/// Events a second.
///
/// # Panics
/// When the log cannot be read.
#[must_use]
pub fn scan_parse_fold(log: &Path) -> f64 {
    let database = Connection::open_with_flags(log, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the log");
    let began = Instant::now();
    let mut statement = database
        .prepare(
            "SELECT e.stream, t.name, e.payload FROM events AS e JOIN event_types AS t ON t.type = e.type ORDER BY e.position",
        )
        .expect("prepared");
    let mut rows = statement.query([]).expect("read");
    let (mut folded, mut count): (HashMap<i64, Row>, u64) = (HashMap::new(), 0);
    while let Some(row) = rows.next().expect("read") {
        let stream: i64 = row.get(0).expect("a stream");
        let name = row.get_ref(1).and_then(|name| Ok(name.as_str()?.to_owned())).expect("a name");
        let payload = row.get_ref(2).and_then(|payload| Ok(payload.as_blob()?.to_vec())).expect("a payload");
        fold(&mut folded, stream, &name, &payload);
        count += 1;
    }
    // A sum does not depend on the order.
    let check: i64 = folded.values().map(|row| row.units + row.total + row.status.len() as i64).sum();
    assert!(check > 0, "nothing was folded");
    count as f64 / began.elapsed().as_secs_f64()
}

fn fold(rows: &mut HashMap<i64, Row>, stream: i64, name: &str, payload: &[u8]) {
    if name == "order.placed" {
        let placed: Placed = serde_json::from_slice(payload).expect("parsed");
        let thousandths = |price: &str| price.replace('.', "").parse::<i64>().unwrap_or(0);
        let row = Row {
            status: "placed",
            units: placed.lines.iter().map(|line| line.quantity).sum(),
            total: placed.lines.iter().map(|line| line.quantity * thousandths(&line.price)).sum(),
            _customer: placed.customer,
            _country: placed.country,
        };
        rows.insert(stream, row);
    } else if let Some(row) = rows.get_mut(&stream) {
        if name == "order.paid" {
            let _: Paid = serde_json::from_slice(payload).expect("parsed");
            row.status = "paid";
        } else {
            let _: Shipped = serde_json::from_slice(payload).expect("parsed");
            row.status = "shipped";
        }
    }
}

/// Events a second, from the start of a process that has no rows yet to the moment all of them are stored, with each index
/// that lists need, and the process has ended.
///
/// # Panics
/// When the system does not start or does not catch up.
#[must_use]
pub fn rebuild(data: &Path) -> f64 {
    for file in ["rows.sqlite3", "rows.sqlite3-wal", "rows.sqlite3-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    let mut settings = Settings { data: data.display().to_string(), ..Settings::default() };
    settings.load_balancer.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    settings.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let registry = Registry::new().aggregate::<shop::domain::order::Order>();
    let registry = registry.and_then(Registry::projection::<shop::domain::OrderSummary>).expect("declared");
    let indexes: i64 = registry.projections().map(|projection| projection.read_model().indexes.len() as i64).sum();
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let began = Instant::now();
    let dev = threads.block_on(Dev::start("shop", Arc::new(registry), &settings)).expect("started");
    let head = loop {
        let status = threads.block_on(dev.status());
        let (head, position) = (status["head"].as_f64(), status["projections"][0]["position"].as_f64());
        if let (Some(head), true) = (head, head == position) {
            break head;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "the rebuild does not end: {status}");
        std::thread::sleep(Duration::from_millis(2));
    };
    // One connection: opening one each time would be work beside what is measured.
    let rows =
        Connection::open_with_flags(data.join("rows.sqlite3"), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the rows");
    while indexes_in(&rows) < indexes {
        assert!(began.elapsed() < Duration::from_secs(300), "the indexes are not made");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(rows);
    // Its end, too: before, what was folded last is in memory alone.
    threads.block_on(dev.stop());
    head / began.elapsed().as_secs_f64()
}

/// How many indexes read models have.
fn indexes_in(rows: &Connection) -> i64 {
    let question = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name GLOB '*__g*__*'";
    // While the file's pages are moved it may be locked for a moment.
    rows.query_row(question, [], |row| row.get(0)).unwrap_or(0)
}
