//! An event as CloudEvents 1.0.2 has it: attributes and data.
//!
//! Everything that the log's hash covers is an attribute or the data, so that an event is rebuilt from its message exactly,
//! and so that a subscriber in any language can follow the chain.

mod binary;
mod read;
mod structured;

#[cfg(test)]
mod tests;

use model::{StoredEvent, encode_part};

pub(crate) use self::binary::{decoded, encoded};

/// How the events of one application are called outside of it.
#[derive(Clone, Debug)]
pub(crate) struct CloudEvents {
    /// First part of sources and subjects.
    pub(crate) application: String,
    /// What comes before a stored name in a type, such as `com.example.shop.`.
    pub(crate) type_prefix: String,
    /// What comes before a type in the address of its schema; without it messages name no schema.
    pub(crate) schemas_url: Option<String>,
}

const ATTRIBUTES_MAX: usize = 22;

impl CloudEvents {
    /// The attributes of `event` by the names of their headers, none of them encoded.
    pub(crate) fn attributes(&self, event: &StoredEvent) -> Vec<(&'static str, String)> {
        let metadata = &event.metadata;
        let trace = &metadata.trace;
        let mut attributes = Vec::with_capacity(ATTRIBUTES_MAX);
        attributes.extend([
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", event.event_id.to_string()),
            ("ce-source", format!("{}{}", self.source_prefix(), encode_part(&event.stream.aggregate))),
            ("ce-type", format!("{}{}", self.type_prefix, event.event_type)),
            ("ce-subject", event.stream.id.to_string()),
            ("ce-time", metadata.time.to_string()),
            ("ce-recordedtime", event.recorded_at.to_string()),
            ("ce-datacontenttype", "application/json".to_owned()),
            ("ce-partitionkey", event.stream.to_string()),
            // All of one length, as the extension asks: they sort as text, too.
            ("ce-sequence", format!("{:020}", event.position.get())),
            ("ce-correlationid", metadata.correlation.to_string()),
            ("ce-causationid", metadata.causation.to_string()),
            ("ce-traceparent", {
                let flags = u8::from(trace.sampled);
                format!("00-{:032x}-{:016x}-{flags:02x}", trace.trace_id, trace.parent_id)
            }),
            ("ce-logepoch", event.epoch.to_string()),
            ("ce-loghash", event.hash.to_string()),
            ("ce-streamversion", event.version.to_string()),
            ("ce-tenant", event.stream.tenant.to_string()),
            ("ce-principal", metadata.principal.to_string()),
            ("ce-commandid", event.command_id.to_string()),
            ("ce-commandevents", event.command_events.to_string()),
        ]);
        attributes.extend(metadata.tracestate.as_deref().map(|state| ("ce-tracestate", state.to_owned())));
        attributes
            .extend(self.schemas_url.as_deref().map(|url| ("ce-dataschema", format!("{url}{}", event.event_type))));
        attributes
    }

    /// `<application>.events.<aggregate>.<event>`: never the aggregate's id, which may contain what subjects are made of.
    pub(crate) fn subject(&self, event: &StoredEvent) -> String {
        let (aggregate, name) = (&*event.stream.aggregate, &*event.event_type.name);
        let name = name.strip_prefix(aggregate).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
        format!("{}.{}.{}", self.subject_root(), token(aggregate), token(name))
    }

    /// What every subject begins with, without a full stop.
    pub(crate) fn subject_root(&self) -> String {
        format!("{}.events", token(&self.application))
    }

    fn source_prefix(&self) -> String {
        format!("/{}/", encode_part(&self.application))
    }
}

/// One part of a subject. Stored names are made of such characters anyhow; what else there is becomes `_`.
fn token(name: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let token: String = name.chars().map(|character| if plain(character) { character } else { '_' }).collect();
    if token.is_empty() { "_".to_owned() } else { token }
}
