//! How fast appends are, beside the barest insert of the same rows.

use std::time::Duration;

use command_database::{Append, PostgresEventStore};
use runtime::Runtime;
use tokio_postgres::Client;

use super::given::{Database, append, request};

const EVENTS: usize = 20_000;
/// As the benchmarks' events have on average.
const PAYLOAD_BYTES: usize = 250;

fn batches(batch: usize) -> Vec<Vec<Append>> {
    let payload = "x".repeat(PAYLOAD_BYTES);
    let command = |number: usize| {
        // Half begin a stream, half go on with one; every command has a key, as the Command Service's have.
        let stream = format!("stream-{}", number / 2);
        request(&stream, payload.clone()).key(&format!("{batch}-{number}"), "body").build()
    };
    let numbers: Vec<_> = (0..EVENTS).collect();
    numbers.chunks(batch).map(|numbers| numbers.iter().map(|number| command(*number)).collect()).collect()
}

async fn append_all(store: &PostgresEventStore, batches: Vec<Vec<Append>>) -> Duration {
    let runtime = Runtime::tokio();
    let began = runtime.now();
    for batch in batches {
        append(store, batch).await;
    }
    runtime.now() - began
}

/// The same columns, no function, no chain, no keys, no streams; each batch its own commit, one after the other on one
/// connection, the next one sent before the last one's answer is there.
async fn insert_all(client: &Client, batches: &[Vec<Append>]) -> Duration {
    client
        .batch_execute(
            "DROP TABLE IF EXISTS bare; CREATE TABLE bare (position bigint PRIMARY KEY, stream bigint NOT NULL,
            version bigint NOT NULL, recorded_at bigint, decided_at bigint, type text, type_version int, command_id uuid,
            command_events int, command_index int, principal text, hash bytea, checksum bytea, payload bytea,
            UNIQUE (stream, version))",
        )
        .await
        .expect("a table");
    let insert = client
        .prepare(
            "INSERT INTO bare SELECT p, s, v, 0, 0, 'order.noted', 1, c, 1, 0, 'anonymous', h, k, y
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bytea[], $6::bytea[], $7::bytea[])
            AS w (p, s, v, c, h, k, y)",
        )
        .await
        .expect("a statement");
    let mut position = 0;
    let rows: Vec<_> = batches
        .iter()
        .map(|batch| {
            let positions: Vec<i64> = batch
                .iter()
                .map(|_| {
                    position += 1;
                    position
                })
                .collect();
            let streams: Vec<_> = positions.iter().map(|position| position / 2).collect();
            let versions: Vec<_> = positions.iter().map(|position| position % 2 + 1).collect();
            let commands: Vec<_> = batch.iter().map(|append| append.command_id.0).collect();
            let hashes = vec![vec![7_u8; 32]; batch.len()];
            let checksums = vec![vec![7_u8; 4]; batch.len()];
            let payloads: Vec<_> = batch.iter().map(|append| append.events()[0].payload.to_vec()).collect();
            (positions, streams, versions, commands, hashes, checksums, payloads)
        })
        .collect();
    let runtime = Runtime::tokio();
    let began = runtime.now();
    // In pairs: while one commits, the next one is on its way.
    for pair in rows.chunks(2) {
        let inserts = pair.iter().map(|(positions, streams, versions, commands, hashes, checksums, payloads)| {
            let insert = &insert;
            async move {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
                    [positions, streams, versions, commands, hashes, checksums, payloads];
                client.execute(insert, &parameters).await.expect("inserted");
            }
        });
        futures_util::future::join_all(inserts).await;
    }
    runtime.now() - began
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn appends_a_second_beside_bare_inserts() {
    for size in [64, 256] {
        let database = Database::migrated().await;
        let (store, client) = (database.open().await, database.by_hand().await);
        let batches = batches(size);
        let bare = insert_all(&client, &batches).await;
        let appended = append_all(&store, batches).await;
        let rate = |span: Duration| EVENTS as f64 / span.as_secs_f64();
        let ratio = rate(appended) / rate(bare);
        println!("batches of {size}: {:.0} appended, {:.0} bare a second, {ratio:.2}", rate(appended), rate(bare));
    }
}
