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
            (Some("3"), None, Some(Precondition::Never)),
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
}
