//! Measures the goals of docs/performance.md: `cargo bench`. Baselines are processes of their own; rounds are interleaved,
//! since only ratios within one run mean anything on a shared machine.
//!
//! `cargo bench -- commands reads visibility rebuild size` runs some of them; `--rounds N` sets the rounds.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program of its own, outside the boxes")]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use benchmarks::{Journey, Load, Run, Server, Spread, asked_for, binary, build, figure, get, quantile, report};

const CONNECTIONS: usize = 64;

fn main() {
    let (rounds, named) = asked_for();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|argument| argument == name);
    build();
    println!("{rounds} rounds, medians (least – greatest)");
    if wanted("commands") {
        commands(rounds);
    }
    if wanted("reads") {
        reads(rounds);
    }
    if wanted("visibility") {
        visibility(rounds);
    }
    if wanted("size") {
        size_and_growth();
    }
    if wanted("rebuild") {
        rebuild(rounds);
    }
}

struct System {
    server: Server,
    directory: tempfile::TempDir,
}

fn address_of_api(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("API")?.trim().strip_prefix("http://")?.parse().ok()
}

fn start(name: &str, data: &Path) -> Server {
    let data = data.to_str().expect("a path of text");
    let arguments = ["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data];
    Server::start(&binary(name), &arguments, address_of_api)
}

impl System {
    fn start(name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { server: start(name, &directory.path().join("data")), directory }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

fn load(server: &Server, connections: usize, seconds: u64, prefix: &str, keyed: bool) -> Run {
    let load = Load { connections, requests_max: 10_000_000, time_max: Duration::from_secs(seconds), first: 0 };
    let run = load.run(server.address, Journey { prefix: prefix.to_owned(), keyed }).expect("the load runs");
    assert_eq!(run.failed, 0, "{:?}", run.first_failure);
    run
}

/// Between two syncs of one client lies what a command costs beside them, and a virtual disk that is left alone for that long
/// may take ten times as long as one that is asked again at once. The sum of a no-op and a sync is taken in that rhythm.
const PAUSE: Duration = Duration::from_micros(60);

/// P1, P2, P3, P4.
fn commands(rounds: usize) {
    let noop = Server::start(&binary("noop"), &[], Server::address_after_listening);
    let bare = Server::start(&binary("bare"), &[], Server::address_after_listening);
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("synced");
    let (file, pause) = (file.to_str().expect("a path of text"), PAUSE.as_micros().to_string());
    let syncing = Server::start(&binary("noop"), &[file, &pause], Server::address_after_listening);
    let (mut alone, mut projected, mut keyed, mut tail, mut rates, mut bound) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut single, mut single_bound) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let prefix = format!("r{round}");
        let base = load(&noop, CONNECTIONS, 4, &prefix, false).rate();
        bound.push(load(&bare, CONNECTIONS, 4, &prefix, false).rate() / base);
        let system = System::start("commands_only");
        // The first moments fill caches and grow files.
        // One client before the many, who leave much to be written. In turns: a disk's mood changes within seconds.
        let one = |server: &Server, prefix: &str| {
            quantile(&load(server, 1, 1, &format!("{prefix}{round}"), false).latencies, 0.5)
        };
        one(&system.server, "v");
        for turn in ["s", "t", "u"] {
            let sum = one(&syncing, turn) - PAUSE.as_micros() as f64;
            single.push(one(&system.server, turn) / sum);
            single_bound.push(one(&bare, turn) / sum);
        }
        load(&system.server, CONNECTIONS, 1, &format!("w{round}"), false);
        let run = load(&system.server, CONNECTIONS, 4, &prefix, false);
        alone.push(run.rate() / base);
        rates.push(run.rate());
        tail.push(quantile(&run.latencies, 0.99) / quantile(&run.latencies, 0.5));
        keyed.push(load(&system.server, CONNECTIONS, 4, &format!("k{round}"), true).rate() / base);
        drop(system);
        let system = System::start("shop");
        load(&system.server, CONNECTIONS, 1, &format!("w{round}"), false);
        projected.push(load(&system.server, CONNECTIONS, 4, &prefix, false).rate() / base);
    }
    report("P1", "commands/s at 64 connections, of the no-op", Spread::of(alone), 0.50, true);
    figure("  commands/s", Spread::of(rates));
    figure("  the same with an idempotency key each", Spread::of(keyed));
    figure("  one thread that appends to SQLite, and nothing else", Spread::of(bound));
    report("P2", "the same with five projections live", Spread::of(projected), 0.40, true);
    report("P3", "one client's command p50, of no-op p50 + fdatasync p50", Spread::of(single), 1.7, false);
    figure("  one thread that appends to SQLite, and nothing else", Spread::of(single_bound));
    report("P4", "p99 at 64 connections, of p50", Spread::of(tail), 3.5, false);
}

const ROWS: usize = 10_000;

fn fill(server: &Server, orders: usize) {
    let per_connection = orders.div_ceil(CONNECTIONS);
    let load =
        Load { connections: CONNECTIONS, requests_max: per_connection, time_max: Duration::from_secs(600), first: 0 };
    // Only placed: one order, one row.
    let request = move |connection: usize, index: usize, out: &mut Vec<u8>| {
        Journey { prefix: "b".to_owned(), keyed: false }.write_step(connection, index * 3, out);
    };
    let run = load.run(server.address, request).expect("the load runs");
    assert_eq!(run.failed, 0, "{:?}", run.first_failure);
}

trait WriteStep {
    fn write_step(&self, connection: usize, index: usize, out: &mut Vec<u8>);
}

impl WriteStep for Journey {
    fn write_step(&self, connection: usize, index: usize, out: &mut Vec<u8>) {
        benchmarks::Request::write(self, connection, index, out);
    }
}

fn point_reads(address: SocketAddr, connections: usize, key: fn(usize, usize) -> String) -> Run {
    let load = Load { connections, requests_max: 10_000_000, time_max: Duration::from_secs(4), first: 0 };
    let request = move |connection: usize, index: usize, out: &mut Vec<u8>| {
        get(&format!("/queries/order_summary/{}", key(connection, index)), out);
    };
    let run = load.run(address, request).expect("the load runs");
    assert_eq!(run.failed, 0, "{:?}", run.first_failure);
    run
}

fn wait_until_visible(server: &Server, key: &str) {
    let began = Instant::now();
    let path = format!("/queries/order_summary/{key}");
    loop {
        let load = Load { connections: 1, requests_max: 1, time_max: Duration::from_secs(1), first: 0 };
        let path = path.clone();
        let run = load.run(server.address, move |_: usize, _: usize, out: &mut Vec<u8>| get(&path, out));
        if run.is_ok_and(|run| run.answered == 1) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{key} never became visible");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// P7.
fn reads(rounds: usize) {
    let bare = Server::start(&binary("point_read"), &[&ROWS.to_string()], Server::address_after_listening);
    let system = System::start("shop");
    fill(&system.server, ROWS);
    wait_until_visible(&system.server, &format!("b-63-{}", ROWS / CONNECTIONS - 1));
    let (mut shares, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let base = point_reads(bare.address, CONNECTIONS, |connection, index| {
            format!("b-0-{}", (connection * 31 + index * 7) % ROWS)
        });
        let ours = point_reads(system.server.address, CONNECTIONS, |connection, index| {
            format!("b-{}-{}", (connection + index) % CONNECTIONS, (index * 7) % (ROWS / CONNECTIONS))
        });
        shares.push(ours.rate() / base.rate());
        rates.push(ours.rate());
    }
    report("P7", "point reads at 64 connections, of bare axum and SQLite", Spread::of(shares), 0.85, true);
    figure("  point reads/s", Spread::of(rates));
}

/// P8: from the answer of a command to the first answer of a query that contains it.
fn visibility(rounds: usize) {
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let system = System::start("shop");
        fill(&system.server, 1_000);
        let round_trip = quantile(&point_reads_of_one(system.server.address).latencies, 0.5);
        idle.push(quantile(&visible(system.server.address, &format!("i{round}"), 500), 0.5) / round_trip);
        let address = system.server.address;
        let loaded = std::thread::spawn(move || {
            let load = Load { connections: 32, requests_max: 10_000_000, time_max: Duration::from_secs(4), first: 0 };
            load.run(address, Journey { prefix: format!("busy{round}"), keyed: false }).expect("the load runs")
        });
        std::thread::sleep(Duration::from_millis(500));
        busy.push(quantile(&visible(address, &format!("j{round}"), 300), 0.99) / 1e3);
        loaded.join().expect("the load ended");
    }
    report("P8", "acknowledged to visible p50, idle, of one GET round trip", Spread::of(idle), 2.0, false);
    report("P8", "acknowledged to visible p99 under load, milliseconds", Spread::of(busy), 10.0, false);
}

fn point_reads_of_one(address: SocketAddr) -> Run {
    let load = Load { connections: 1, requests_max: 2_000, time_max: Duration::from_secs(4), first: 0 };
    load.run(address, |_: usize, index: usize, out: &mut Vec<u8>| {
        get(&format!("/queries/order_summary/b-{}-0", index % CONNECTIONS), out);
    })
    .expect("the load runs")
}

/// Places orders one by one and asks for each row until it is there. Latencies in ascending order.
fn visible(address: SocketAddr, prefix: &str, count: usize) -> Vec<Duration> {
    let journey = Journey { prefix: prefix.to_owned(), keyed: false };
    let mut client = benchmarks::Blocking::connect(address).expect("connected");
    let mut took: Vec<Duration> = (0..count)
        .map(|index| {
            let mut request = Vec::new();
            journey.write_step(0, index * 3, &mut request);
            assert_eq!(client.send(&request).expect("answered"), 201);
            let acknowledged = Instant::now();
            request.clear();
            get(&format!("/queries/order_summary/{prefix}-0-{index}"), &mut request);
            while client.send(&request).expect("answered") != 200 {}
            acknowledged.elapsed()
        })
        .collect();
    took.sort_unstable();
    took
}

fn bytes_of(paths: &[PathBuf]) -> u64 {
    paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

/// P10, P11.
fn size_and_growth() {
    let small = System::start("shop");
    fill(&small.server, 10_000);
    let large = System::start("shop");
    let commands = 1_000_000 / CONNECTIONS;
    let filling =
        Load { connections: CONNECTIONS, requests_max: commands, time_max: Duration::from_secs(900), first: 0 };
    let run = filling.run(large.server.address, Journey { prefix: "g".to_owned(), keyed: false }).expect("filled");
    assert_eq!(run.failed, 0, "{:?}", run.first_failure);
    wait_until_visible(&large.server, &format!("g-63-{}", commands / 3 - 1));
    let (mut tails, mut reads) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let tail =
            |server: &Server| quantile(&load(server, CONNECTIONS, 4, &format!("t{round}"), false).latencies, 0.99);
        let at_small = tail(&small.server);
        tails.push(tail(&large.server) / at_small);
        let at_small = point_reads(small.server.address, CONNECTIONS, |connection, index| {
            format!("b-{}-{}", (connection + index) % CONNECTIONS, (index * 7) % (ROWS / CONNECTIONS))
        });
        let at_large = point_reads(large.server.address, CONNECTIONS, |connection, index| {
            format!("g-{}-{}", (connection + index) % CONNECTIONS, (index * 7919) % 5_000)
        });
        reads.push(at_small.rate() / at_large.rate());
    }
    report("P11", "command p99 at 10⁶ events, of that at 10⁴", Spread::of(tails), 1.3, false);
    report("P11", "cost of a point read at 10⁶ events, of that at 10⁴", Spread::of(reads), 1.3, false);
    let data = large.data();
    drop(large.server);
    let log = data.join("log.sqlite3");
    let database = rusqlite::Connection::open(&log).expect("the log");
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("checkpointed");
    let (events, payload): (i64, i64) = database
        .query_row("SELECT count(*), sum(length(payload)) FROM events", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("counted");
    let bytes = bytes_of(&[log]);
    let overhead = (bytes as i64 - payload) as f64 / events as f64;
    println!("     {events} events, {:.0} bytes of payload each on average", payload as f64 / events as f64);
    report(
        "P10",
        "bytes on disk an event of 250 bytes of payload, of those",
        Spread::of(vec![(250.0 + overhead) / 250.0]),
        1.6,
        false,
    );
}

/// P6.
fn rebuild(rounds: usize) {
    let system = System::start("commands_only");
    let commands = 300_000 / CONNECTIONS;
    let filling =
        Load { connections: CONNECTIONS, requests_max: commands, time_max: Duration::from_secs(600), first: 0 };
    let run = filling.run(system.server.address, Journey { prefix: "g".to_owned(), keyed: false }).expect("filled");
    assert_eq!(run.failed, 0, "{:?}", run.first_failure);
    let data = system.data();
    let System { server, directory } = system;
    drop(server);
    let mut shares = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let bare = benchmarks::scan_parse_fold(&data.join("log.sqlite3"));
        let ours = benchmarks::rebuild(&data);
        shares.push(ours / bare);
        rates.push(ours);
    }
    drop(directory);
    report("P6", "rebuild of one read model, of own scan, parse and fold", Spread::of(shares), 0.5, true);
    figure("  events/s rebuilt", Spread::of(rates));
}
