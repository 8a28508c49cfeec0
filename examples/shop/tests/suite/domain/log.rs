//! A log in memory: commands in, by name and as JSON, and rows out.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, LazyLock},
};

use diptych::{
    Context, Registry,
    model::{
        CommandId, EpochId, EventId, Hash, Instance, Metadata, NewEvent, Position, Principal, Recorded, Rejection,
        RowChange, StoredEvent, StreamId, StreamVersion, Tenant, TraceContext, canonical_key,
    },
};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| shop::registry().expect("the shop's declarations are right"));

/// The state of every aggregate, and all events in their order.
#[derive(Default)]
pub(crate) struct Log {
    streams: BTreeMap<(String, String), Stream>,
    events: Vec<Arc<Recorded>>,
}

struct Stream {
    instance: Box<dyn Instance>,
    version: Option<StreamVersion>,
}

/// A log after these commands, each `aggregate/id/command` with its fields, all of them accepted.
pub(crate) fn given<'a>(commands: impl IntoIterator<Item = (&'a str, Value)>) -> Log {
    let mut log = Log::default();
    for (path, fields) in commands {
        log.execute(path, &fields).unwrap_or_else(|rejection| panic!("{path} is not accepted: {rejection:?}"));
    }
    log
}

impl Log {
    /// The stored types of the events that the command leads to.
    pub(crate) fn execute(&mut self, path: &str, fields: &Value) -> Result<Vec<String>, Rejection> {
        let [aggregate, id, command] = path.split('/').collect::<Vec<_>>()[..] else {
            panic!("{path} is not aggregate/id/command");
        };
        let stream = self.streams.entry((aggregate.to_owned(), id.to_owned())).or_insert_with(|| Stream {
            instance: REGISTRY.find_aggregate(aggregate).expect("the aggregate exists").initial(),
            version: None,
        });
        let context =
            Context::new(Timestamp::UNIX_EPOCH, Principal::default(), Tenant::default(), CommandId(Uuid::nil()));
        let events = stream.instance.execute(command, fields.to_string().as_bytes(), &context)?;
        let id = StreamId { tenant: Tenant::default(), aggregate: aggregate.into(), id: id.into() };
        for event in &events {
            let version = StreamVersion::after(stream.version);
            stream.version = Some(version);
            self.events.push(recorded(self.events.len(), stored(&id, version, event)));
        }
        Ok(events.iter().map(|event| event.event_type.to_string()).collect())
    }

    /// The code of the refusal with which the command is answered.
    pub(crate) fn refusal(&mut self, path: &str, fields: &Value) -> String {
        match self.execute(path, fields) {
            Err(Rejection::Refused { code, title, detail }) => {
                assert!(!title.is_empty() && !detail.is_empty(), "{code} says what it means");
                code
            }
            other => panic!("{path} is answered with {other:?}, not refused"),
        }
    }

    /// The stream of each event, as an aggregate and its id.
    pub(crate) fn stream_ids(&self) -> Vec<String> {
        self.events.iter().map(|event| event.stream.to_string()).collect()
    }

    /// The same log with its streams interleaved anew: the next event is always the next one of the stream that `order` names.
    pub(crate) fn interleaved(&self, order: &[String]) -> Log {
        let mut streams: BTreeMap<String, VecDeque<StoredEvent>> = BTreeMap::new();
        for event in &self.events {
            streams.entry(event.stream.to_string()).or_default().push_back((***event).clone());
        }
        let mut log = Log::default();
        for stream in order {
            let next = streams.get_mut(stream).and_then(VecDeque::pop_front);
            log.events.push(recorded(log.events.len(), next.expect("the order names each event once")));
        }
        log
    }

    /// All rows of a read model by their keys, folded in batches of so many events.
    pub(crate) fn rows(&self, read_model: &str, batch_events: usize) -> BTreeMap<String, Value> {
        let projection = REGISTRY.find_projection(read_model).expect("the read model exists");
        // Small, so that rows also come back from their stored form.
        let mut folder = projection.folder(64 * 1024);
        let mut stored: BTreeMap<String, String> = BTreeMap::new();
        for batch in self.events.chunks(batch_events) {
            for key in folder.plan(batch).expect("keys can be told") {
                folder.supply(stored.get(&*key.key).map(String::as_str)).expect("a stored row can be read");
            }
            for write in folder.fold(batch).expect("events can be folded") {
                match write.change {
                    RowChange::Put { body, .. } => stored.insert(write.key.key.to_string(), body),
                    RowChange::Delete => stored.remove(&*write.key.key),
                };
            }
            folder.commit();
        }
        stored.into_iter().map(|(key, body)| (key, serde_json::from_str(&body).expect("a row is JSON"))).collect()
    }

    /// One row of a read model; null if there is none.
    pub(crate) fn row(&self, read_model: &str, key: &str) -> Value {
        let key = canonical_key(key).expect("the test writes keys");
        self.rows(read_model, 1).remove(key.as_ref()).unwrap_or_default()
    }
}

/// As the log stores it, but for its position.
fn stored(stream: &StreamId, version: StreamVersion, event: &NewEvent) -> StoredEvent {
    StoredEvent {
        position: Position::FIRST,
        epoch: EpochId(Uuid::nil()),
        event_id: EventId(Uuid::nil()),
        stream: stream.clone(),
        version,
        event_type: event.event_type.clone(),
        command_id: CommandId(Uuid::nil()),
        command_events: 1,
        payload: event.payload.clone(),
        metadata: Metadata {
            principal: Principal::default(),
            time: Timestamp::UNIX_EPOCH,
            correlation: Uuid::nil(),
            causation: Uuid::nil(),
            trace: TraceContext::default(),
            tracestate: None,
        },
        recorded_at: Timestamp::UNIX_EPOCH,
        hash: Hash::default(),
    }
}

/// As a projection sees it, after so many events.
fn recorded(before: usize, event: StoredEvent) -> Arc<Recorded> {
    let position = Position::FIRST.plus(before as u64);
    Arc::new(REGISTRY.decode(StoredEvent { position, ..event }).expect("what was just written can be read"))
}
