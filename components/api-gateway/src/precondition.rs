use command_service::Precondition;
use http::{HeaderMap, HeaderName, header};
use model::StreamVersion;

use crate::{
    header::elements,
    problem::{self, Problem},
};

/// What `If-Match` and `If-None-Match` demand of a command's stream (RFC 9110 §13).
pub(crate) fn of(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let demanded = if_match(headers)?;
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return Ok(demanded);
    }
    if !elements(headers, &header::IF_NONE_MATCH).eq(["*"]) {
        let detail =
            "If-None-Match of a command is *, for a stream that must not exist yet: use If-Match for a version";
        return Err(Problem::new(&problem::MALFORMED_REQUEST, detail));
    }
    // No stream both exists and does not.
    Ok(if demanded == Precondition::None { Precondition::Absent } else { Precondition::Never })
}

fn if_match(headers: &HeaderMap) -> Result<Precondition, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(Precondition::None);
    }
    if elements(headers, &header::IF_MATCH).eq(["*"]) {
        return Ok(Precondition::Exists);
    }
    if let Some(bare) = elements(headers, &header::IF_MATCH).find(|tag| !tag.ends_with('"')) {
        let detail = format!("If-Match: {bare} holds no entity tag, which has quotes: write If-Match: \"1\"");
        return Err(Problem::new(&problem::MALFORMED_REQUEST, detail));
    }
    // A tag that is weak, or that no stream can have, matches nothing; one that is left decides.
    let mut versions = elements(headers, &header::IF_MATCH).filter_map(version);
    let demanded = versions.next().map_or(Precondition::Never, Precondition::Version);
    if versions.any(|version| Precondition::Version(version) != demanded) {
        let detail = "If-Match names several versions: a command is decided on one, so send one entity tag";
        return Err(Problem::new(&problem::MALFORMED_REQUEST, detail));
    }
    Ok(demanded)
}

/// The version that a strong entity tag of ours names.
fn version(tag: &str) -> Option<StreamVersion> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    canonical.then(|| digits.parse().ok().and_then(StreamVersion::new)).flatten()
}

/// Whether `If-None-Match` of a read names `tag`, which is weak: only what is between the quotes is compared.
pub(crate) fn has_seen(headers: &HeaderMap, tag: &str) -> bool {
    const NAME: HeaderName = header::IF_NONE_MATCH;
    if !headers.contains_key(&NAME) {
        return false;
    }
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let own = opaque(tag);
    elements(headers, &NAME).any(|sent| sent == "*" || opaque(sent) == own)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn preconditions_follow_the_entity_tags() {
        let version = |number| Precondition::Version(StreamVersion::new(number).expect("counted from 1"));
        for (if_match, if_none_match, demanded) in [
            (None, None, Some(Precondition::None)),
            (Some("\"3\""), None, Some(version(3))),
            (Some("*"), None, Some(Precondition::Exists)),
            (None, Some("*"), Some(Precondition::Absent)),
            (Some("W/\"3\""), None, Some(Precondition::Never)),
            (Some("W/\"g1-3\""), None, Some(Precondition::Never)),
            (Some("\"03\""), None, Some(Precondition::Never)),
            (Some("\"0\""), None, Some(Precondition::Never)),
            (Some("3"), None, None),
            (Some("\"3\", 4"), None, None),
            (Some(""), None, Some(Precondition::Never)),
            (Some("\"x\", \"3\""), None, Some(version(3))),
            (Some("\"2\", \"3\""), None, None),
            (Some("\"3\""), Some("*"), Some(Precondition::Never)),
            (None, Some("\"3\""), None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::IF_MATCH, if_match), (header::IF_NONE_MATCH, if_none_match)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().expect("a header value"));
                }
            }
            assert_eq!(of(&headers).ok(), demanded, "{if_match:?} {if_none_match:?}");
        }
    }

    /// The headers that demand this; `None` where there are no such headers, or many.
    fn printed(precondition: Precondition) -> Option<HeaderMap> {
        let (name, value) = match precondition {
            Precondition::None => return Some(HeaderMap::new()),
            Precondition::Exists => (header::IF_MATCH, "*".to_owned()),
            Precondition::Absent => (header::IF_NONE_MATCH, "*".to_owned()),
            Precondition::Version(version) => (header::IF_MATCH, format!("\"{version}\"")),
            Precondition::Never => return None,
        };
        Some(HeaderMap::from_iter([(name, HeaderValue::try_from(value).ok()?)]))
    }

    fn values() -> impl Strategy<Value = Vec<HeaderValue>> {
        let tags = "((W/)?\"[0-9a-z]{0,3}\"|\"[0-9]{1,21}\"|\\*|[,\\\\\" ]){0,4}".prop_map(String::into_bytes);
        let value = prop_oneof![4 => tags, 1 => prop::collection::vec(any::<u8>(), 0..20)];
        let value = value.prop_filter_map("no header value", |bytes| HeaderValue::from_bytes(&bytes).ok());
        prop::collection::vec(value, 0..3)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_demanded_prints_back_to_headers_that_demand_it(if_match in values(), if_none_match in values()) {
            let if_match = if_match.into_iter().map(|value| (header::IF_MATCH, value));
            let if_none_match = if_none_match.into_iter().map(|value| (header::IF_NONE_MATCH, value));
            let headers: HeaderMap = if_match.chain(if_none_match).collect();
            if let Ok(demanded) = of(&headers)
                && let Some(printed) = printed(demanded)
            {
                prop_assert_eq!(of(&printed).ok(), Some(demanded));
            }
        }

        #[test]
        fn every_version_can_be_demanded(number in 1_u64..) {
            let demanded = StreamVersion::new(number).map(Precondition::Version);
            prop_assert_eq!(demanded.and_then(printed).and_then(|headers| of(&headers).ok()), demanded);
        }

        #[test]
        fn a_tag_that_was_seen_is_seen_in_whatever_list_it_stands(before in values(), after in values()) {
            let tag = HeaderValue::from_static("W/\"g3-4711\"");
            let values = before.into_iter().chain([tag]).chain(after);
            let headers: HeaderMap = values.map(|value| (header::IF_NONE_MATCH, value)).collect();
            prop_assert!(has_seen(&headers, "W/\"g3-4711\""));
        }
    }
}
