use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Hash, Index, Projection,
    shape::{canonical, shape},
};

/// A field of a row, as a table or a document shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name in the row's JSON.
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
}

/// What a field holds, as far as a column of a table can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// A string: text, times and money alike.
    Text,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Real,
    /// True or false.
    Boolean,
    /// An object, an array, or one of several kinds.
    Json,
}

/// What the boxes know of a projection: its name, its version, and the shape of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadModel {
    /// The name in paths and tables.
    pub name: String,
    /// Of the fold.
    pub version: u32,
    /// Over the row's schema, its comments apart, and its indexes. Another version or another shape is another generation.
    pub shape: Hash,
    /// The row's fields, by name.
    pub fields: Vec<Field>,
    /// What lists can be filtered and sorted by.
    pub indexes: Vec<Index>,
    /// JSON Schema (2020-12) of the row.
    pub schema: Value,
}

impl ReadModel {
    /// Of the projection `P`.
    #[must_use]
    pub fn of<P: Projection>() -> Self {
        let schema = schemars::schema_for!(P).to_value();
        let indexes = P::indexes().0;
        let described = canonical(&serde_json::json!({ "schema": shape(&schema), "indexes": indexes }));
        Self {
            name: P::NAME.to_owned(),
            version: P::VERSION,
            shape: Hash::of(described.to_string().as_bytes()),
            fields: fields(&schema),
            indexes,
            schema,
        }
    }

    /// The declared index on `field`.
    #[must_use]
    pub fn index(&self, field: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.field == field)
    }
}

fn fields(schema: &Value) -> Vec<Field> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    properties.iter().map(|(name, property)| Field { name: name.clone(), kind: kind(property) }).collect()
}

fn kind(property: &Value) -> FieldKind {
    let types: Vec<&str> = match property.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => Vec::new(),
    };
    match types.as_slice() {
        ["string"] => FieldKind::Text,
        ["integer"] => FieldKind::Integer,
        ["number"] => FieldKind::Real,
        ["boolean"] => FieldKind::Boolean,
        _ => FieldKind::Json,
    }
}
