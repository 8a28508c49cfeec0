//! Rows and checkpoints as whoever verifies them reads them.

use query_database::{PostgresConfig, PostgresScan, RowWriter};
use runtime::Runtime;

use crate::{
    server::{migrated, open_at, sql},
    support::{commit, key, put, sales},
};

#[tokio::test]
async fn a_generation_is_read_in_slices_each_with_its_checkpoint() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    let rows = (0..25).map(|row| put(&format!("{row:02}"), "x", Some(row), 1)).collect();
    database.commit(commit(&owned, 0, 1, rows)).await.expect("stored");
    let scan = PostgresScan::open(&url, &Runtime::tokio(), &PostgresConfig::default()).await.expect("opened");
    let generations = scan.generations().await.expect("read");
    assert_eq!((generations[0].name.as_str(), generations[0].read_model.as_ref()), ("sales", Some(&*sales())));
    let (mut after, mut seen, mut checkpoints) = (None, Vec::new(), Vec::new());
    loop {
        let each = |row: Result<query_database::ScannedRow<'_>, _>| {
            let row = row.expect("it can be read");
            assert!(row.fits_checksum);
            seen.push(row.key.key.to_string());
        };
        let slice = scan.rows(owned.generation, &sales(), after.as_ref(), 10, each).await.expect("read");
        let slice = slice.expect("a checkpoint");
        assert!(slice.checkpoint.serving && slice.checkpoint.lineage.is_some());
        checkpoints.push(slice.checkpoint.position);
        let at = checkpoints.len() as u64;
        database.commit(commit(&owned, at, at + 1, vec![])).await.expect("stored");
        match slice.last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    assert_eq!(checkpoints, [1, 2, 3]);
    assert_eq!(seen, (0..25).map(|row| format!("{row:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn damage_in_any_column_is_told_in_its_place() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    let rows = ["a", "b", "c", "d", "e"].map(|name| put(name, name, Some(1), 1)).to_vec();
    database.commit(commit(&owned, 0, 1, rows)).await.expect("stored");
    let admin = sql(&url).await;
    for (set, name) in [("body = '{}'", "a"), ("position = 7", "b"), ("i0 = 'x'", "c"), ("i1 = NULL", "d")] {
        let damage = format!("UPDATE diptych_rows.rows_1 SET {set} WHERE key = $1");
        assert_eq!(admin.execute(&damage, &[&name]).await.expect("changed"), 1);
        if set.starts_with('i') {
            assert!(database.rows(owned.generation, vec![key(name)]).await.is_err(), "{set}");
        }
    }
    let scan = PostgresScan::open(&url, &Runtime::tokio(), &PostgresConfig::default()).await.expect("opened");
    let mut sound = Vec::new();
    let each = |row: Result<query_database::ScannedRow<'_>, _>| {
        let row = row.expect("it can be read");
        sound.push((row.key.key.to_string(), row.fits_checksum));
    };
    scan.rows(owned.generation, &sales(), None, 10, each).await.expect("read").expect("a checkpoint");
    let expected = [("a", false), ("b", false), ("c", false), ("d", false), ("e", true)];
    assert_eq!(sound, expected.map(|(name, sound)| (name.to_owned(), sound)));
}
