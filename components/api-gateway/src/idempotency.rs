use aws_lc_rs::digest;
use command_service::{CommandRequest, Idempotency};
use http::{HeaderMap, HeaderName};
use model::Hash;
use sfv::{BareItem, Item, Parser};

use crate::{
    identity::only,
    problem::{self, Problem},
};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_BYTES_MAX: usize = 255;

/// The client's key (draft-ietf-httpapi-idempotency-key-header-07): a structured-field string, or the same without quotes.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refuse = |detail: &'static str| Err(Problem::new(&problem::MALFORMED_REQUEST, detail));
    let Ok(sent) = only(headers, &IDEMPOTENCY_KEY) else {
        return refuse("several Idempotency-Key headers differ: send one");
    };
    let Some(sent) = sent else {
        return Ok(None);
    };
    let text = sent.to_str().unwrap_or_default().trim();
    let key = if text.starts_with('"') {
        match Parser::new(text).parse::<Item>() {
            Ok(Item { bare_item: BareItem::String(key), .. }) => key.as_str().to_owned(),
            _ => return refuse("Idempotency-Key is no structured-field string: quote the key, as in \"k-1\""),
        }
    } else {
        text.to_owned()
    };
    // A tab may stand in a header, but in no string of a structured field.
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\t') {
        return refuse("Idempotency-Key must have 1 to 255 printable characters of ASCII");
    }
    Ok(Some(key))
}

/// Scopes `key` to tenant, principal, method and path, and takes the fingerprint of `command` as sent.
pub(crate) fn scoped(key: &str, command: &CommandRequest) -> Idempotency {
    // The path's segments decoded: spellings of one path are one path.
    let path = [b"POST", command.aggregate.as_bytes(), command.id.as_bytes(), command.command.as_bytes()];
    let [method, aggregate, id, name] = path;
    let who = [command.tenant.as_str().as_bytes(), command.principal.as_str().as_bytes()];
    let scope = [who[0], who[1], method, aggregate, id, name, key.as_bytes()];
    let payload = [method, aggregate, id, name, &command.fields];
    Idempotency { key: digest_of(&scope), fingerprint: digest_of(&payload) }
}

/// SHA-256 over the parts, each after its length, so that no two lists of parts run together.
fn digest_of(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    Hash::from_slice(context.finish().as_ref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(value: &[u8]) -> Option<Option<String>> {
        let value = HeaderValue::from_bytes(value).ok()?;
        key(&HeaderMap::from_iter([(IDEMPOTENCY_KEY.clone(), value)])).ok()
    }

    /// As a structured-field string (RFC 9651).
    fn printed(key: &str) -> String {
        format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
    }

    #[test]
    fn a_key_is_a_string_or_the_same_without_quotes() {
        for (value, key) in [
            ("\"k-1\"", Some("k-1")),
            ("k-1", Some("k-1")),
            (" \"a \\\"b\\\\\" ", Some("a \"b\\")),
            ("\"k-1\";a=1", Some("k-1")),
            ("a b", Some("a b")),
            ("\"k-1", None),
            ("\"k\\1\"", None),
            ("\"\"", None),
            ("", None),
            ("a\tb", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(read(value.as_bytes()).flatten().as_deref(), key, "{value:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_key_that_is_taken_prints_back_to_itself(
            value in prop_oneof!["\"([ -~]|\\\\[\"\\\\]){0,20}\"(;[a-z]=[0-9])?".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..300)],
        ) {
            if let Some(Some(key)) = read(&value) {
                prop_assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "{} bytes", key.len());
                prop_assert_eq!(read(printed(&key).as_bytes()), Some(Some(key)));
            }
        }

        #[test]
        fn every_key_of_printable_characters_can_be_sent(key in "[ -~]{1,255}") {
            prop_assert_eq!(read(printed(&key).as_bytes()), Some(Some(key)));
        }

        #[test]
        fn a_key_is_taken_up_to_255_characters(length in 250..260_usize) {
            let bare = "k".repeat(length);
            prop_assert_eq!(read(bare.as_bytes()).is_some(), length <= 255);
            prop_assert_eq!(read(printed(&bare).as_bytes()).is_some(), length <= 255);
        }
    }
}
