use model::{canonical_json, schema_shape};
use serde_json::json;

#[test]
fn words_for_people_are_no_part_of_a_shape() {
    let plain = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    let explained = json!({
        "$schema": "x", "title": "A", "description": "an a", "type": "object",
        "properties": { "a": { "type": "string", "description": "the a" } },
    });
    assert_eq!(schema_shape(&explained), schema_shape(&plain));
}

#[test]
fn a_field_may_be_called_description() {
    let with = json!({ "properties": { "description": { "type": "string" }, "title": { "type": "string" } } });
    assert_eq!(schema_shape(&with), with);
    let inside = json!({ "oneOf": [{ "properties": { "title": { "description": "x", "type": "string" } } }] });
    assert_eq!(schema_shape(&inside), json!({ "oneOf": [{ "properties": { "title": { "type": "string" } } }] }));
}

#[test]
fn values_in_a_schema_are_part_of_its_shape() {
    assert_ne!(schema_shape(&json!({ "enum": ["a"] })), schema_shape(&json!({ "enum": ["b"] })));
    let default = json!({ "default": { "description": "x" } });
    assert_eq!(schema_shape(&default), default);
}

#[test]
fn canonical_json_has_its_members_by_name() {
    let value = serde_json::from_str(r#"{"b":[{"d":1,"c":2}],"a":null}"#).expect("it is JSON");
    assert_eq!(canonical_json(&value).to_string(), r#"{"a":null,"b":[{"c":2,"d":1}]}"#);
}
