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
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return refuse("Idempotency-Key must have 1 to 255 characters of ASCII");
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
