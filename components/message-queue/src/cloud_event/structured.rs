//! Structured mode: attributes and data in one JSON value. It is read, and never written to the queue.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::StoredEvent;
use serde_json::value::RawValue;

use super::{
    CloudEvents,
    read::{Attributes, undecodable},
};
use crate::Error;

pub(super) fn decoded(names: &CloudEvents, body: &Bytes) -> Result<StoredEvent, Error> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body)
        .map_err(|_| undecodable("it has no CloudEvents headers, and its body is no CloudEvent in JSON"))?;
    // The data as it is spelled: it is what the log's hash was made over.
    let data = members.get("data").ok_or_else(|| undecodable("it has no member `data`"))?;
    let payload = Bytes::copy_from_slice(data.get().as_bytes());
    names.event(&Attributes(|name: &'static str| member(&members, name)), payload)
}

/// A string's content; a number as it is spelled, since some attributes are numbers to other writers.
fn member(members: &BTreeMap<String, Box<RawValue>>, header: &'static str) -> Result<Option<String>, Error> {
    let name = header.strip_prefix("ce-").unwrap_or(header);
    let Some(value) = members.get(name) else { return Ok(None) };
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => Ok(serde_json::from_str(text).ok()),
        Some(b'0'..=b'9') => Ok(Some(text.to_owned())),
        _ => Err(undecodable(format!("its member `{name}` is neither text nor a number"))),
    }
}
