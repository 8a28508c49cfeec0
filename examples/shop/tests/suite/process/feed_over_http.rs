//! The feed goes in through the front door, and every field of every row that comes out is the one that the CSV says.

use std::{collections::BTreeMap, net::SocketAddr, process::Output};

use serde_json::Value;

use super::{
    client::Client,
    system::{System, assert_verified, shop},
};
use crate::{oracle, which_feed};

pub(super) const READ_MODELS: [(&str, &str); 5] = [
    ("order_summary", "invoice"),
    ("product_sales", "stock_code"),
    ("customer_value", "customer"),
    ("country_sales", "country"),
    ("daily_sales", "date"),
];

pub(super) fn import(api: SocketAddr, feed: &std::path::Path, refused: &std::path::Path) -> Output {
    let url = format!("http://{api}");
    shop().arg("import").arg(feed).args(["--url", &url, "--refused"]).arg(refused).output().expect("the import runs")
}

/// Every row of a read model, page by page, by its key field.
fn rows(client: &mut Client, read_model: &str, key: &str) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    let mut next = format!("/queries/{read_model}?page_size=500");
    loop {
        let answer = client.get(&next, &[]).expect("answered");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let page = answer.json();
        for row in page["rows"].as_array().expect("rows") {
            let key = row[key].as_str().expect("the key is a field").to_owned();
            assert!(rows.insert(key.clone(), row.clone()).is_none(), "{read_model} lists {key} twice");
        }
        match page["next_page_token"].as_str() {
            Some(token) => next = format!("/queries/{read_model}?page_size=500&page_token={token}"),
            None => return rows,
        }
    }
}

pub(super) fn assert_equal(client: &mut Client, expected: &oracle::Models) {
    for (read_model, key) in READ_MODELS {
        let found = rows(client, read_model, key);
        let expected = &expected[read_model];
        assert_eq!(found.len(), expected.len(), "rows of {read_model}");
        for (key, fields) in expected {
            let row = found.get(key).unwrap_or_else(|| panic!("{read_model} has no row {key:?}"));
            for (field, value) in fields.as_object().expect("an object") {
                assert_eq!(&row[field], value, "{field} of {key:?} in {read_model}");
            }
        }
    }
}

#[test]
fn the_feed_goes_in_over_http_and_every_row_equals_the_source() {
    let _alone = super::alone();
    let feed = which_feed::feed();
    let expected = oracle::models(&oracle::read(&feed.path));
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let system = System::start(&data);

    let output = import(system.api, &feed.path, &directory.path().join("refused.csv"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert_equal(&mut system.client(), &expected);

    // Killed and started again, the rows are the same; sent again, nothing changes.
    system.kill();
    let system = System::start(&data);
    system.wait_until_caught_up();
    let head = system.status()["head"].clone();
    let again = import(system.api, &feed.path, &directory.path().join("refused-again.csv"));
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(system.status()["head"], head, "the second import wrote something");
    assert_equal(&mut system.client(), &expected);
    assert_eq!(system.stop(), Some(0));
    assert_verified(&data);
}
