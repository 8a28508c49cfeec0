use std::{collections::BTreeMap, sync::Arc};

use model::{
    AggregateType, Hash, Instance, ProjectionType, Recorded, Registry, RowChange, RowKey, RowWrite, StoredEvent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the lock file holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Lock {
    pub(super) corpus: CorpusLock,
    pub(super) aggregates: BTreeMap<String, AggregateLock>,
    /// Shape of the payload by stored name and version, also of those that are no longer written.
    pub(super) events: BTreeMap<String, Value>,
    pub(super) read_models: BTreeMap<String, ReadModelLock>,
}

/// How much of the corpus the hashes below were made over.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CorpusLock {
    pub(super) events: usize,
    pub(super) hash: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AggregateLock {
    pub(super) state_version: u64,
    pub(super) state: Value,
    /// Over the state after each event of the corpus.
    pub(super) evolved: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReadModelLock {
    pub(super) version: u32,
    pub(super) row: Value,
    pub(super) indexes: Value,
    /// Over what each event of the corpus made of each row.
    pub(super) folded: String,
}

/// The shape of each event that is written now, by stored name and version.
pub(super) fn event_shapes(registry: &Registry) -> BTreeMap<String, Value> {
    let mut shapes = BTreeMap::new();
    for aggregate in registry.aggregates() {
        let schemas = aggregate.schemas();
        for event in schemas["events"].as_array().into_iter().flatten() {
            let (variant, name) = (event["variant"].as_str(), event["type"].as_str());
            if let (Some(variant), Some(name)) = (variant, name) {
                shapes.insert(name.to_owned(), model::schema_shape(&payload_schema(&schemas["event"], variant)));
            }
        }
    }
    shapes
}

/// The part of an enum's schema that is about the content of one variant, with the definitions that it uses.
fn payload_schema(event: &Value, variant: &str) -> Value {
    let alternatives = event["oneOf"].as_array().or(event["anyOf"].as_array());
    let content = alternatives.into_iter().flatten().find_map(|schema| schema["properties"].get(variant));
    // A variant without content is a bare name in the schema.
    let mut schema = content.cloned().unwrap_or(json!({}));
    let mut used = BTreeMap::new();
    definitions(&schema, &event["$defs"], &mut used);
    if let (Value::Object(members), false) = (&mut schema, used.is_empty()) {
        members.insert("$defs".to_owned(), json!(used));
    }
    schema
}

fn definitions(schema: &Value, all: &Value, used: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
            if let Some((name, definition)) = name.and_then(|name| Some((name, all.get(name)?)))
                && used.insert(name.to_owned(), definition.clone()).is_none()
            {
                definitions(definition, all, used);
            }
            members.values().for_each(|member| definitions(member, all, used));
        }
        Value::Array(items) => items.iter().for_each(|item| definitions(item, all, used)),
        _ => {}
    }
}

/// What `aggregate` makes of the events.
pub(super) fn aggregate(aggregate: &dyn AggregateType, events: &[StoredEvent]) -> Result<AggregateLock, String> {
    let schemas = aggregate.schemas();
    Ok(AggregateLock {
        state_version: schemas["state_version"].as_u64().unwrap_or_default(),
        state: model::schema_shape(&schemas["state"]),
        evolved: evolved(aggregate, events)?,
    })
}

fn evolved(aggregate: &dyn AggregateType, events: &[StoredEvent]) -> Result<String, String> {
    let mut instances: BTreeMap<&str, Box<dyn Instance>> = BTreeMap::new();
    let mut seen = Vec::new();
    for event in events.iter().filter(|event| *event.stream.aggregate == *aggregate.name()) {
        let instance = instances.entry(&event.stream.id).or_insert_with(|| aggregate.initial());
        instance.evolve(&event.event_type, &event.payload).map_err(|error| {
            format!("aggregate {} cannot evolve by event {} of the corpus: {error}", aggregate.name(), event.position)
        })?;
        seen.push(json!([&*event.stream.id, parsed(&instance.snapshot())]));
    }
    Ok(hash(seen))
}

/// What `projection` makes of the events.
pub(super) fn read_model(projection: &dyn ProjectionType, events: &[Arc<Recorded>]) -> Result<ReadModelLock, String> {
    let read_model = projection.read_model();
    let folded = folded(projection, events)
        .map_err(|failure| format!("projection {} cannot fold the corpus: {failure}", read_model.name))?;
    let row = model::schema_shape(&read_model.schema);
    Ok(ReadModelLock { version: read_model.version, row, indexes: json!(read_model.indexes), folded })
}

/// One event a batch, so that not only the last state of a row counts.
fn folded(projection: &dyn ProjectionType, events: &[Arc<Recorded>]) -> Result<String, model::FoldFailure> {
    let mut folder = projection.folder(0);
    let mut rows: BTreeMap<RowKey, String> = BTreeMap::new();
    let mut seen = Vec::new();
    for event in events.chunks(1) {
        for key in folder.plan(event)? {
            folder.supply(rows.get(&key).map(String::as_str))?;
        }
        let mut writes = folder.fold(event)?;
        folder.commit();
        // An event touches several rows in no order that matters.
        writes.sort_by(|one, other| one.key.cmp(&other.key));
        for write in writes {
            seen.push(described(&write));
            match write.change {
                RowChange::Put { body, .. } => rows.insert(write.key, body),
                RowChange::Delete => rows.remove(&write.key),
            };
        }
    }
    Ok(hash(seen))
}

fn described(write: &RowWrite) -> Value {
    let change = match &write.change {
        RowChange::Put { body, index } => json!({ "row": parsed(body.as_bytes()), "index": index }),
        RowChange::Delete => Value::Null,
    };
    json!([write.position, &*write.key.key, change])
}

/// Written JSON, with its members in an order that does not depend on a map's.
fn parsed(text: &[u8]) -> Value {
    serde_json::from_slice(text).map_or(Value::Null, |value| model::canonical_json(&value))
}

fn hash(seen: Vec<Value>) -> String {
    Hash::of(model::canonical_json(&Value::Array(seen)).to_string().as_bytes()).to_string()
}
