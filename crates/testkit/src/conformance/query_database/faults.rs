use query_database::Error;

use super::{Subject, fixture::*};

/// A database with a sound row "a" and a damaged row "b".
async fn damaged(subject: &dyn Subject) -> (std::sync::Arc<dyn super::Database>, query_database::Owned) {
    let database = subject.open().await;
    let rows = vec![put("a", r#"{"sound":true}"#, 1), put("b", r#"{"sound":false}"#, 1)];
    let owned = with_rows(&*database, rows).await;
    drop(database);
    subject.damage(owned.generation, &key("b")).await;
    (subject.open().await, owned)
}

fn is_row_b(error: &Error) -> bool {
    matches!(error, Error::Corrupt { read_model, key } if read_model == NAME && key == "b")
}

pub(super) async fn a_damaged_row_is_not_served(subject: &dyn Subject) {
    let (database, _) = damaged(subject).await;
    let error = database.point(NAME, &key("b")).await.expect_err("it does not fit its checksum");
    assert!(is_row_b(&error), "{error}");
    assert!(body(&*database, "a").await.is_some());
}

pub(super) async fn a_damaged_row_is_not_folded(subject: &dyn Subject) {
    let (database, owned) = damaged(subject).await;
    let wanted = vec![key("a"), key("b")];
    let error = database.rows(owned.generation, wanted).await.expect_err("it does not fit its checksum");
    assert!(is_row_b(&error), "{error}");
}

pub(super) async fn a_damaged_row_is_not_listed(subject: &dyn Subject) {
    let (database, owned) = damaged(subject).await;
    let error = database.list(NAME, list(&owned, &[])).await.expect_err("it does not fit its checksum");
    assert!(is_row_b(&error), "{error}");
    let first = query_database::List { rows_max: 1, ..list(&owned, &[]) };
    // Whether a page looks at the row after its last one is its own affair.
    if let Ok(Some(page)) = database.list(NAME, first).await {
        assert_eq!(keys(&page), ["a"]);
    }
}
