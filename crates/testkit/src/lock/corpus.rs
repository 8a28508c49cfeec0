use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use jiff::Timestamp;
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, Principal, StoredEvent, StreamId, StreamVersion,
    Tenant, TraceContext,
};
use serde::Deserialize;
use uuid::Uuid;

/// Events kept beside the code, one JSON object a line. What they lack to be stored events follows from their place.
pub(super) struct Corpus {
    pub(super) events: Vec<StoredEvent>,
    lines: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    aggregate: String,
    id: String,
    r#type: String,
    version: u32,
    payload: Box<serde_json::value::RawValue>,
}

/// Any moment will do, if it is always the same.
const FIRST_SECOND: i64 = 1_600_000_000;

impl Corpus {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!(
                "cannot read the corpus {}: {error}: write one event a line, as `testkit::lock` shows",
                path.display()
            )
        })?;
        Self::parse(&text).map_err(|reason| format!("{}: {reason}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut corpus = Self { events: Vec::new(), lines: Vec::new() };
        let mut versions: BTreeMap<StreamId, StreamVersion> = BTreeMap::new();
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        for (index, line) in lines {
            let parsed: Line = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))?;
            corpus.push(parsed, &mut versions);
            corpus.lines.push(line.to_owned());
        }
        Ok(corpus)
    }

    fn push(&mut self, line: Line, versions: &mut BTreeMap<StreamId, StreamVersion>) {
        let stream = StreamId { tenant: Tenant::default(), aggregate: line.aggregate.into(), id: line.id.into() };
        let version = StreamVersion::after(versions.get(&stream).copied());
        versions.insert(stream.clone(), version);
        let position = Position::after(self.events.last().map(|event| event.position));
        let command_id = CommandId(Uuid::from_u128(position.get().into()));
        let second = FIRST_SECOND.saturating_add_unsigned(position.get());
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        self.events.push(StoredEvent {
            position,
            epoch: EpochId(Uuid::nil()),
            event_id: EventId::derived(command_id, 0),
            stream,
            version,
            event_type: EventType { name: line.r#type.into(), version: line.version },
            command_id,
            command_events: 1,
            payload: Bytes::from(line.payload.get().to_owned()),
            metadata: Metadata {
                principal: Principal::default(),
                time,
                correlation: command_id.0,
                causation: command_id.0,
                trace: TraceContext::default(),
                tracestate: None,
            },
            recorded_at: time,
            hash: Hash::default(),
        });
    }

    /// Hash over the first `count` lines; `None` where there are fewer.
    pub(super) fn hash_of_first(&self, count: usize) -> Option<String> {
        Some(Hash::of(self.lines.get(..count)?.join("\n").as_bytes()).to_string())
    }

    pub(super) fn contains(&self, event_type: &EventType) -> bool {
        self.events.iter().any(|event| event.event_type == *event_type)
    }
}
