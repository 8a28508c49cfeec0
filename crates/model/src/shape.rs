//! What a JSON Schema says to a program, without what it says to people.

use serde_json::{Map, Value};

/// `schema` without titles, descriptions and examples, its members sorted by name: what two schemas of one shape share,
/// whatever their comments say and however the map behind them is ordered.
#[must_use]
pub fn shape(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !is_prose(name));
            sorted(kept.map(|(name, member)| (name, shape_of_member(name, member))))
        }
        other => other.clone(),
    }
}

fn is_prose(name: &str) -> bool {
    matches!(name, "title" | "description" | "examples" | "$comment" | "$schema")
}

fn shape_of_member(name: &str, member: &Value) -> Value {
    match (name, member) {
        // Here the members are names of the domain, of which one may well be "description".
        ("properties" | "patternProperties" | "$defs" | "dependentSchemas", Value::Object(named)) => {
            sorted(named.iter().map(|(name, schema)| (name, shape(schema))))
        }
        // Values, not schemas.
        ("enum" | "const" | "default", value) => canonical(value),
        (_, Value::Array(schemas)) => schemas.iter().map(shape).collect(),
        (_, schema) => shape(schema),
    }
}

/// `value` with the members of all its objects sorted by name.
#[must_use]
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => sorted(members.iter().map(|(name, member)| (name, canonical(member)))),
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

fn sorted<'a>(members: impl Iterator<Item = (&'a String, Value)>) -> Value {
    let mut members: Vec<_> = members.collect();
    members.sort_by_key(|(name, _)| *name);
    Value::Object(members.into_iter().map(|(name, member)| (name.clone(), member)).collect::<Map<_, _>>())
}
