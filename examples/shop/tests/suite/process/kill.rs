//! Whatever was acknowledged is there after SIGKILL, exactly once, wherever it struck.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};

use super::{
    client::Client,
    system::{System, assert_verified, spawn},
};

const KILLS: usize = 50;
/// Of them, so many while the process starts.
const KILLS_IN_START: usize = 10;
const IN_FLIGHT: usize = 64;
const ACKNOWLEDGED_BETWEEN_MIN: u64 = 100;

/// The ids of acknowledged commands, with the position that was told.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

fn place(client: &mut Client, id: &str) -> io::Result<Option<(String, u64)>> {
    let body = r#"{"country":"France","lines":[{"line":1,"stock_code":"22041","quantity":2,"price":"2.100","time":"2009-12-01T07:45:00"}]}"#;
    let key = format!("\"{id}\"");
    let answer = client.post(&format!("/commands/order/{id}/place"), &[("Idempotency-Key", &key)], body)?;
    if answer.status != 201 {
        return Ok(None);
    }
    let told = answer.json();
    let command = told["command_id"].as_str().expect("a command id").to_owned();
    Ok(Some((command, told["events"][0]["position"].as_u64().expect("a position"))))
}

fn load(
    address: SocketAddr,
    acknowledged: &Acknowledged,
    count: &Arc<AtomicU64>,
    over: &Arc<AtomicBool>,
    round: usize,
) {
    for connection in 0..IN_FLIGHT {
        let (acknowledged, count, over) = (acknowledged.clone(), count.clone(), over.clone());
        thread::spawn(move || {
            let mut client = Client::new(address);
            for index in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // A connection that breaks is what this test is about: the next round goes on.
                let Ok(answer) = place(&mut client, &format!("k{round}-{connection}-{index}")) else { return };
                if let Some((command, position)) = answer {
                    acknowledged.lock().unwrap().insert(command, position);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

fn commands_in_log(data: &Path) -> BTreeMap<String, Vec<u64>> {
    let log = Connection::open_with_flags(data.join("log.sqlite3"), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the log");
    let mut statement = log.prepare("SELECT position, lower(hex(command_id)) FROM events").expect("events");
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).expect("read");
    for (position, command) in rows.map(|row| row.expect("a row")) {
        found.entry(command).or_default().push(position.unsigned_abs());
    }
    found
}

#[test]
fn fifty_kills_under_load_lose_and_double_nothing() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path();
    let acknowledged = Acknowledged::default();
    for round in 0..KILLS {
        if round % (KILLS / KILLS_IN_START) == 1 {
            let mut starting = spawn(data);
            // Spread over the start: before the lock, while SQLite recovers, while the projections catch up.
            thread::sleep(Duration::from_millis(round as u64 * 2));
            starting.kill().expect("killed");
            starting.wait().expect("gone");
            continue;
        }
        let system = System::start(data);
        let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        load(system.api, &acknowledged, &count, &over, round);
        let began = Instant::now();
        while count.load(Ordering::Relaxed) < ACKNOWLEDGED_BETWEEN_MIN {
            assert!(began.elapsed() < Duration::from_secs(30), "round {round}: too few commands are acknowledged");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(round as u64 % 17));
        system.kill();
        over.store(true, Ordering::Relaxed);
    }
    let system = System::start(data);
    system.wait_until_caught_up();
    let found = commands_in_log(data);
    let acknowledged = acknowledged.lock().unwrap();
    println!("{} commands acknowledged over {KILLS} kills, {} in the log", acknowledged.len(), found.len());
    for (command, position) in acknowledged.iter() {
        let positions = found.get(&command.replace('-', ""));
        assert_eq!(positions, Some(&vec![*position]), "command {command} was acknowledged at position {position}");
    }
    assert_eq!(system.stop(), Some(0));
    assert_verified(data);
}
