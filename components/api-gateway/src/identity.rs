use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::TraceContext;
use runtime::Runtime;
use uuid::Uuid;

use crate::{header::value, tracestate::tracestate};

pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a request is called, here and in the log.
pub(crate) struct Identity {
    pub(crate) request_id: Uuid,
    pub(crate) trace: TraceContext,
    /// Only ever beside a trace that the client sent.
    pub(crate) tracestate: Option<Arc<str>>,
    /// The request id as it came, so that it goes back unchanged and uncopied.
    sent: Option<HeaderValue>,
}

impl Identity {
    pub(crate) fn of(headers: &HeaderMap, runtime: &Runtime) -> Self {
        let sent = headers.get(&X_REQUEST_ID).and_then(|value| Some((request_id(value)?, value.clone())));
        let (request_id, sent) = match sent {
            Some((id, value)) => (id, Some(value)),
            None => (runtime.uuid(), None),
        };
        let (trace, tracestate) = match trace(headers) {
            Some(trace) => (trace, tracestate(headers)),
            None => (TraceContext { trace_id: request_id.as_u128(), parent_id: 0, sampled: false }, None),
        };
        Self { request_id, trace, tracestate, sent }
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let mut buffer = Uuid::encode_buffer();
        let made = || value::<36>(format_args!("{}", self.request_id.hyphenated().encode_lower(&mut buffer)));
        if let Some(id) = self.sent.or_else(made) {
            headers.insert(X_REQUEST_ID.clone(), id);
        }
    }
}

/// A UUID in its usual spelling; all zero names nothing.
fn request_id(value: &HeaderValue) -> Option<Uuid> {
    let bytes = value.as_bytes();
    let id = if bytes.len() == 36 { Uuid::try_parse_ascii(bytes).ok()? } else { return None };
    (!id.is_nil()).then_some(id)
}

/// W3C trace context, level 1: what does not parse starts a new trace.
fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let mut lines = headers.get_all(&TRACEPARENT).iter();
    let parent = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse_traceparent(parent.as_bytes())
}

fn parse_traceparent(text: &[u8]) -> Option<TraceContext> {
    let (known, rest) = text.split_at_checked(55)?;
    let version = hex(&known[..2])?;
    // A later version may have more fields, after another dash; this one has none.
    let whole = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    if !whole || [2, 35, 52].iter().any(|place| known[*place] != b'-') {
        return None;
    }
    let trace_id = hex(&known[3..35])?;
    let parent_id = u64::try_from(hex(&known[36..52])?).ok()?;
    let flags = hex(&known[53..55])?;
    (trace_id != 0 && parent_id != 0).then_some(TraceContext { trace_id, parent_id, sampled: flags & 1 == 1 })
}

/// Lower case only, as the standard has it.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The value of the header `name`, unless there are several that differ.
pub(crate) fn only(headers: &HeaderMap, name: impl header::AsHeaderName) -> Result<Option<&HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.any(|value| Some(value) != first) { Err(()) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use model::TraceContext;
    use proptest::prelude::*;

    use super::parse_traceparent;

    #[test]
    fn a_traceparent_is_read_as_level_1_has_it() {
        const ID: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        for (text, read) in [
            (format!("00-{ID}-01"), true),
            (format!("00-{ID}-00"), true),
            (format!("cc-{ID}-01"), true),
            (format!("cc-{ID}-01-more"), true),
            (format!("cc-{ID}-01more"), false),
            (format!("00-{ID}-01-more"), false),
            (format!("ff-{ID}-01"), false),
            (format!("0-{ID}-01"), false),
            (format!("00_{ID}-01"), false),
            (format!("00-{ID}-0"), false),
            (format!("00-{}-01", ID.to_uppercase()), false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(), false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(parse_traceparent(text.as_bytes()).is_some(), read, "{text:?}");
        }
        let trace = parse_traceparent(format!("00-{ID}-03").as_bytes()).expect("a valid one");
        assert_eq!((trace.parent_id, trace.sampled), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(trace.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    }

    fn printed(trace: TraceContext) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", trace.trace_id, trace.parent_id, u8::from(trace.sampled))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_traceparent_prints_back_to_itself(trace_id in 1_u128.., parent_id in 1_u64.., sampled: bool) {
            let trace = TraceContext { trace_id, parent_id, sampled };
            prop_assert_eq!(parse_traceparent(printed(trace).as_bytes()), Some(trace));
        }

        #[test]
        fn a_traceparent_that_is_taken_means_what_it_prints(
            text in prop_oneof![
                "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,3})?".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..80),
            ],
        ) {
            if let Some(trace) = parse_traceparent(&text) {
                prop_assert_eq!(parse_traceparent(printed(trace).as_bytes()), Some(trace));
                let printed = printed(trace);
                prop_assert_eq!(&printed.as_bytes()[3..52], &text[3..52]);
            }
        }
    }
}
