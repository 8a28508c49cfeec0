use http::{HeaderMap, HeaderName, HeaderValue};
use runtime::Runtime;
use uuid::Uuid;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What names a request on its whole way: its id and its trace.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) id: Uuid,
    /// The id as a header: the client's own spelling if it sent one.
    pub(crate) header: HeaderValue,
    traceparent: Option<HeaderValue>,
}

impl Origin {
    /// The id that the client sent, if it is a UUID in its usual spelling, else a fresh one.
    pub(crate) fn of(headers: &HeaderMap, runtime: &Runtime) -> Self {
        let traceparent = headers.get(TRACEPARENT).cloned();
        match sent_id(headers) {
            Some((id, header)) => Self { id, header: header.clone(), traceparent },
            None => Self { traceparent, ..Self::fresh(runtime) },
        }
    }

    /// For a request whose head was never understood.
    pub(crate) fn fresh(runtime: &Runtime) -> Self {
        let id = runtime.uuid();
        Self { id, header: spell(id), traceparent: None }
    }

    /// The trace of a valid `traceparent` (W3C level 1), else one derived from the request's id.
    pub(crate) fn trace_id(&self) -> String {
        self.traceparent
            .as_ref()
            .and_then(|value| value.to_str().ok())
            .and_then(trace_of)
            .map_or_else(|| self.id.simple().to_string(), str::to_owned)
    }
}

fn sent_id(headers: &HeaderMap) -> Option<(Uuid, &HeaderValue)> {
    let header = headers.get(X_REQUEST_ID)?;
    let is_usual_spelling = header.len() == uuid::fmt::Hyphenated::LENGTH;
    let id = is_usual_spelling.then(|| Uuid::try_parse_ascii(header.as_bytes()).ok())??;
    Some((id, header))
}

fn spell(id: Uuid) -> HeaderValue {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer)).expect("digits and hyphens are a header's value")
}

fn trace_of(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let version = parts.next().filter(|part| is_hex(part, 2) && *part != "ff")?;
    let trace = parts.next().filter(|part| is_hex(part, 32) && !is_zero(part))?;
    parts.next().filter(|part| is_hex(part, 16) && !is_zero(part))?;
    parts.next().filter(|part| is_hex(part, 2))?;
    // Later versions may append fields; this one has none.
    (version != "00" || parts.next().is_none()).then_some(trace)
}

fn is_hex(part: &str, length: usize) -> bool {
    part.len() == length && part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(part: &str) -> bool {
    part.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_a_uuid_is_taken_over_as_request_id() {
        for (value, taken) in [
            ("0199ab10-5c1e-7d04-9e6b-2f6d1c0a9b11", true),
            ("0199AB10-5C1E-7D04-9E6B-2F6D1C0A9B11", true),
            ("0199ab105c1e7d049e6b2f6d1c0a9b11", false),
            ("{199ab10-5c1e-7d04-9e6b-2f6d1c0a9b1}", false),
            ("order-17", false),
        ] {
            assert_eq!(sent_id(&headers(X_REQUEST_ID, value)).is_some(), taken, "{value}");
        }
    }

    #[test]
    fn the_trace_comes_from_a_valid_traceparent_else_from_the_request_id() {
        let id = Uuid::from_u128(0x0199_ab10_5c1e_7d04_9e6b_2f6d_1c0a_9b11);
        let own = "0199ab105c1e7d049e6b2f6d1c0a9b11";
        let theirs = "0af7651916cd43dd8448eb211c80319c";
        for (traceparent, trace) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", theirs),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", theirs),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", own),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", own),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", own),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", own),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", own),
            ("nonsense", own),
        ] {
            let traceparent_header = Some(HeaderValue::from_static(traceparent));
            let origin = Origin { id, header: spell(id), traceparent: traceparent_header };
            assert_eq!(origin.trace_id(), trace, "{traceparent}");
        }
    }
}
