use model::{DecodeError, StoredEvent};
use serde_json::json;

use crate::domain::{Event, Tab, recorded, registry, stored};

fn opened(version: u32, payload: serde_json::Value) -> (String, u32) {
    match recorded(stored(1, "tab.opened", version, payload)).of::<Tab>() {
        Some(Event::Opened { owner, table }) => (owner.clone(), *table),
        _ => panic!("it is an event of a tab that was opened"),
    }
}

fn failure(event: StoredEvent) -> DecodeError {
    registry().decode(event).expect_err("it cannot be read")
}

#[test]
fn older_versions_are_read_by_one_upcast_after_the_other() {
    assert_eq!(opened(1, json!({ "name": "Ada" })), ("Ada".to_owned(), 7));
    assert_eq!(opened(2, json!({ "owner": "Ada" })), ("Ada".to_owned(), 7));
    assert_eq!(opened(3, json!({ "owner": "Ada", "table": 2 })), ("Ada".to_owned(), 2));
}

#[test]
fn an_upcast_event_keeps_the_version_that_is_stored() {
    let event = recorded(stored(1, "tab.opened", 1, json!({ "name": "Ada" })));
    assert_eq!(event.event_type.to_string(), "tab.opened.v1");
}

#[test]
fn every_readable_version_is_listed() {
    let types: Vec<String> = registry().event_types().map(|event_type| event_type.to_string()).collect();
    for readable in ["tab.opened.v1", "tab.opened.v2", "tab.opened.v3", "tab.closed.v1"] {
        assert!(types.iter().any(|listed| listed == readable), "{readable} in {types:?}");
    }
}

#[test]
fn a_version_of_the_future_is_unknown() {
    assert!(matches!(failure(stored(1, "tab.opened", 4, json!({}))), DecodeError::UnknownType { .. }));
}

#[test]
fn an_event_or_an_aggregate_that_nobody_declared_is_unknown() {
    assert!(matches!(failure(stored(1, "tab.burnt", 1, json!({}))), DecodeError::UnknownType { .. }));
    let mut foreign = stored(1, "tab.closed", 1, json!({}));
    foreign.stream.aggregate = "bill".into();
    assert!(matches!(failure(foreign), DecodeError::UnknownType { .. }));
}

#[test]
fn a_payload_of_another_shape_is_an_error() {
    assert!(matches!(failure(stored(1, "tab.opened", 3, json!({ "owner": 1 }))), DecodeError::Payload { .. }));
}

#[test]
fn a_panicking_upcast_is_an_error_and_not_the_end() {
    match failure(stored(1, "tab.renamed", 1, json!({}))) {
        DecodeError::Panicked { message } => assert_eq!(message, "nobody can say what this meant"),
        other => panic!("the upcast panicked, but that came to {other:?}"),
    }
}

#[test]
fn fields_that_no_longer_matter_are_no_error_in_an_event() {
    assert_eq!(opened(3, json!({ "owner": "Ada", "table": 2, "colour": "red" })), ("Ada".to_owned(), 2));
    recorded(stored(1, "tab.closed", 1, json!({ "colour": "red" })));
}
