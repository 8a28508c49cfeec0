//! Binary mode on NATS: an attribute is a header, and the data is the whole body.
//!
//! Values are percent-encoded as CloudEvents' HTTP binding has it (1.0.2, section 3.1.3.2), since a header is no place for
//! line breaks or for what is not ASCII.

use std::borrow::Cow;

use async_nats::{HeaderMap, header::HeaderName};
use bytes::Bytes;
use model::StoredEvent;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{
    CloudEvents,
    read::{Attributes, undecodable},
    structured,
};
use crate::Error;

/// Space, double quote, per cent, and all outside of U+0021 to U+007E.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The headers of the message that carries `event`. Its body is the payload.
pub(crate) fn encoded(names: &CloudEvents, event: &StoredEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in names.attributes(event) {
        // Most values have nothing to encode, and are not copied.
        let encoded = Cow::from(utf8_percent_encode(&value, ENCODED));
        let changed = if encoded.len() == value.len() { None } else { Some(encoded.into_owned()) };
        headers.insert(HeaderName::from_static(name), changed.unwrap_or(value));
    }
    headers
}

/// The event that a message carries, in binary or in structured mode. The payload of the former shares the message's memory.
///
/// # Errors
/// [`Error::Undecodable`] for what is no event of this application.
pub(crate) fn decoded(names: &CloudEvents, headers: Option<&HeaderMap>, body: &Bytes) -> Result<StoredEvent, Error> {
    match headers.filter(|headers| headers.get("ce-specversion").is_some()) {
        Some(headers) => names.event(&Attributes(|name: &'static str| attribute(headers, name)), body.clone()),
        None => structured::decoded(names, body),
    }
}

/// One attribute, decoded.
fn attribute(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(HeaderName::from_static(name)) else { return Ok(None) };
    match percent_decode_str(value.as_str()).decode_utf8() {
        Ok(text) => Ok(Some(text.into_owned())),
        Err(_) => Err(undecodable(format!("its header `{name}` is not percent-encoded UTF-8"))),
    }
}
