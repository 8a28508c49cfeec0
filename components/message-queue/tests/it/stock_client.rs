//! A subscriber in another language reads the events with a stock client.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use message_queue::MessageQueue;

use crate::server::{SHARED, events, fresh, queue};

const CLIENT: &str = "nats-py==2.16.0";
/// Prints each message as a line of JSON: subject, headers, body.
const SUBSCRIBER: &str = r#"
import asyncio, json, sys, nats
async def main(server, stream, subject, count):
    client = await nats.connect(server)
    messages = await client.jetstream().subscribe(subject, stream=stream, ordered_consumer=True)
    for _ in range(int(count)):
        message = await messages.next_msg(timeout=10)
        print(json.dumps([message.subject, dict(message.headers), json.loads(message.data)]))
    await client.close()
asyncio.run(main(*sys.argv[1:]))
"#;

/// A Python that has the client, made once for all runs; nothing where that cannot be.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-nats");
    let python = folder.join("bin/python");
    let runs = |program: &Path, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let is_there = || runs(&python, &["-c", "import nats"]);
    if !is_there() {
        runs(Path::new("python3"), &["-m", "venv", folder.to_str()?]);
        runs(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", CLIENT]);
    }
    is_there().then_some(python)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_in_python_reads_cloud_events() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: no Python with {CLIENT}: neither python3 with venv, nor PyPI, or both, could be had");
        return;
    };
    let config = fresh(&SHARED);
    let queue = queue(&config).await;
    queue.publish(events(1..=3)).await.expect("published");
    let subject = format!("{}.events.order.*", config.application);
    let output = Command::new(python)
        .args(["-c", SUBSCRIBER, &SHARED.url(), &config.stream, &subject, "3"])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    for (line, position) in lines.iter().zip(1_u64..) {
        assert_eq!(line[0], format!("{}.events.order.placed", config.application));
        assert_eq!(line[2]["line"], position);
        let sequence = format!("{position:020}");
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-type", "com.example.shop.order.placed.v3"),
            ("ce-sequence", &sequence),
            ("ce-datacontenttype", "application/json"),
            ("ce-tenant", "acme"),
            ("ce-streamversion", &(position + 100).to_string()),
            // As in HTTP: an id that is not ASCII is percent-encoded.
            ("ce-subject", &format!("%C3%B8-{position}")),
        ];
        for (name, value) in expected {
            assert_eq!(line[1][name], value, "{name} of {position}");
        }
    }
}
