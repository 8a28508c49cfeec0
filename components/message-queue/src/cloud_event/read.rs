//! From attributes and data back to the event. What comes in was written by anybody.

use std::{str::FromStr, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, Principal, StoredEvent, StreamId, StreamVersion,
    Tenant, TraceContext,
};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use super::CloudEvents;
use crate::Error;

pub(super) fn undecodable(reason: impl Into<String>) -> Error {
    Error::Undecodable { reason: reason.into() }
}

fn wrong(name: &'static str, value: &str) -> Error {
    // As it came it may be of any length, and contain anything.
    let value: String = value.chars().take(80).collect();
    undecodable(format!("its attribute `{name}` is {value:?}"))
}

/// The attributes of a message by the names of their headers, none of them encoded.
pub(super) struct Attributes<F>(pub(super) F);

impl<F: Fn(&'static str) -> Result<Option<String>, Error>> Attributes<F> {
    fn text(&self, name: &'static str) -> Result<String, Error> {
        (self.0)(name)?.ok_or_else(|| undecodable(format!("it has no attribute `{name}`")))
    }

    fn parsed<T: FromStr>(&self, name: &'static str) -> Result<T, Error> {
        let text = self.text(name)?;
        text.parse().map_err(|_| wrong(name, &text))
    }

    fn with<T>(&self, name: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        let text = self.text(name)?;
        read(&text).ok_or_else(|| wrong(name, &text))
    }
}

impl CloudEvents {
    pub(super) fn event<F>(&self, attributes: &Attributes<F>, payload: Bytes) -> Result<StoredEvent, Error>
    where
        F: Fn(&'static str) -> Result<Option<String>, Error>,
    {
        attributes.with("ce-specversion", |version| (version == "1.0").then_some(()))?;
        let tenant = attributes.with("ce-tenant", |text| Some(tenant(text)))?;
        let aggregate = attributes.with("ce-source", |source| self.aggregate(source))?;
        Ok(StoredEvent {
            position: attributes.with("ce-sequence", |number| Position::new(number.parse().ok()?))?,
            epoch: EpochId(attributes.parsed::<Uuid>("ce-logepoch")?),
            event_id: EventId(attributes.parsed::<Uuid>("ce-id")?),
            stream: StreamId { tenant, aggregate, id: attributes.text("ce-subject")?.into() },
            version: attributes.with("ce-streamversion", |number| StreamVersion::new(number.parse().ok()?))?,
            event_type: attributes.with("ce-type", |text| self.event_type(text))?,
            command_id: CommandId(attributes.parsed::<Uuid>("ce-commandid")?),
            command_events: attributes.parsed("ce-commandevents")?,
            payload,
            metadata: Metadata {
                principal: attributes.with("ce-principal", |text| Some(principal(text)))?,
                time: attributes.parsed::<Timestamp>("ce-time")?,
                correlation: attributes.parsed("ce-correlationid")?,
                causation: attributes.parsed("ce-causationid")?,
                trace: attributes.with("ce-traceparent", trace)?,
                tracestate: (attributes.0)("ce-tracestate")?.map(Arc::from),
            },
            recorded_at: attributes.parsed::<Timestamp>("ce-recordedtime")?,
            hash: attributes.with("ce-loghash", hash)?,
        })
    }

    fn aggregate(&self, source: &str) -> Option<Arc<str>> {
        let encoded = source.strip_prefix(&self.source_prefix())?;
        Some(percent_decode_str(encoded).decode_utf8().ok()?.into())
    }

    fn event_type(&self, text: &str) -> Option<EventType> {
        let (name, version) = text.strip_prefix(&self.type_prefix)?.rsplit_once(".v")?;
        Some(EventType { name: name.into(), version: version.parse().ok()? })
    }
}

// Nearly all events are of these two; their text is shared instead of copied for each event.
fn tenant(text: &str) -> Tenant {
    let default = Tenant::default();
    if text == default.as_str() { default } else { Tenant::new(text) }
}

fn principal(text: &str) -> Principal {
    let default = Principal::default();
    if text == default.as_str() { default } else { Principal::new(text) }
}

/// W3C `traceparent`, version 00.
fn trace(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_whole = version == "00" && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    if !is_whole || parts.next().is_some() {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some(TraceContext {
        trace_id: u128::from_str_radix(trace, 16).ok()?,
        parent_id: u64::from_str_radix(parent, 16).ok()?,
        sampled,
    })
}

fn hash(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    Hash::from_slice(&bytes?)
}
