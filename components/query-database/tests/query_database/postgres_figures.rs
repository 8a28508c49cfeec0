//! What a PostgreSQL on this machine does: `cargo test -p diptych-query-database -- --ignored --nocapture figures`.

use std::{sync::Arc, time::Duration};

use query_database::{PostgresConfig, PostgresQueryDatabase, RowReader, RowWriter};
use runtime::Runtime;

use crate::{
    server::{fresh_database, open_with},
    support::{commit, key, put, sales},
};

const ROWS: u64 = 100_000;
const READERS: u64 = 16;
const SPAN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long, and says something on an idle machine only"]
async fn figures() {
    let server = cluster::Postgres::new().start().expect("started");
    let url = fresh_database(&server).await;
    let config = PostgresConfig::default();
    PostgresQueryDatabase::migrate(&url, &config).await.expect("made ready");
    let (runtime, database) = (Runtime::tokio(), Arc::new(open_with(&url, &config).await));
    let owned = database.take(sales()).await.expect("taken");
    let row =
        |row: u64, at| put(&row.to_string(), &format!("{:0>180}", row * 7_919 % ROWS), Some(row.cast_signed()), at);
    for (what, first) in [("inserted", 0), ("rewritten", 100)] {
        let began = runtime.now();
        for batch in first..first + 100 {
            let from = batch * 1_000 % ROWS;
            let rows = (from..from + 1_000).map(|number| row(number, batch + 1)).collect();
            database.commit(commit(&owned, batch, batch + 1, rows)).await.expect("stored");
        }
        let took = runtime.now() - began;
        println!("100 commits of 1,000 rows, {what}: {took:?}, {:.0} rows a second", 100_000.0 / took.as_secs_f64());
    }
    let began = runtime.now();
    for batch in 200..1_200 {
        database.commit(commit(&owned, batch, batch + 1, vec![row(batch, batch + 1)])).await.expect("stored");
    }
    println!("1,000 commits of one row: {:?}", runtime.now() - began);
    let until = runtime.now() + SPAN;
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (database, clock) = (database.clone(), runtime.clone());
            runtime.spawn("reader", async move {
                let mut reads = 0_u64;
                while clock.now() < until {
                    let wanted = key(&((reader + reads * 7_919) % ROWS).to_string());
                    assert!(database.point("sales", &wanted).await.expect("read").row.is_some());
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.expect("it ended");
    }
    println!("point reads on {READERS} connections: {} a second", reads / SPAN.as_secs());
}
