//! The whole feed through the domain, without any box around it.

use shop::feed::{Feed, submissions};

use super::log::Log;
use crate::{oracle, which_feed::feed};

#[test]
fn all_fields_of_all_rows_equal_what_the_oracle_computes_from_the_feed() {
    let feed = feed();
    let import = submissions(Feed::open(&feed.path).expect("the feed opens")).expect("the feed can be read");
    let mut log = Log::default();
    for submission in &import.submissions {
        let path = format!("{}/{}/{}", submission.class.aggregate(), submission.id, submission.class.command());
        let fields = serde_json::to_value(&submission.body).expect("an invoice is JSON");
        log.execute(&path, &fields).unwrap_or_else(|rejection| panic!("{path} is not accepted: {rejection:?}"));
    }
    for (read_model, expected) in oracle::models(&oracle::read(&feed.path)) {
        let rows = log.rows(read_model, 500);
        assert_eq!(rows.len(), expected.len(), "rows of {read_model}");
        for (key, expected) in expected {
            oracle::assert_row(read_model, &key, rows.get(&diptych::model::encode_part(&key)), &expected);
        }
    }
}
