use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use query_database::{Generation, PageStart};

use crate::{ListQuery, list};

const PREFIX: &str = "p1.";
const MAC_BYTES: usize = 32;
/// More than any token of ours has: a longer one is not decoded.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Seals where a page ended. All instances of the service share the key.
#[derive(Debug)]
pub(crate) struct Sealer(hmac::Key);

/// Why a page token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenFault {
    /// Not made by us for this query.
    Foreign,
    /// Made for a generation that no longer serves.
    Rebuilt,
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// `p1.` and the URL-safe base64 of a MAC and, as JSON, generation and start. What else the token is bound to is under
    /// the MAC but not in the token: the client sends it again anyway.
    pub(crate) fn seal(&self, query: &ListQuery, generation: Generation, start: &PageStart) -> Option<String> {
        let content = serde_json::to_vec(&(generation, start)).ok()?;
        let mut bytes = self.mac(query, &content).as_ref().to_vec();
        bytes.extend_from_slice(&content);
        let mut text = PREFIX.to_owned();
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut text);
        Some(text)
    }

    /// Where the page before ended, if `token` was made for this query, answered from `generation`.
    pub(crate) fn open(&self, query: &ListQuery, generation: Generation, token: &str) -> Result<PageStart, TokenFault> {
        let encoded = token.strip_prefix(PREFIX).filter(|text| text.len() <= TEXT_BYTES_MAX);
        let bytes = encoded.and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok()).ok_or(TokenFault::Foreign)?;
        let (mac, content) = bytes.split_at_checked(MAC_BYTES).ok_or(TokenFault::Foreign)?;
        hmac::verify(&self.0, &message(query, content), mac).map_err(|_| TokenFault::Foreign)?;
        let (sealed, start): (Generation, PageStart) =
            serde_json::from_slice(content).map_err(|_| TokenFault::Foreign)?;
        if sealed == generation { Ok(start) } else { Err(TokenFault::Rebuilt) }
    }

    fn mac(&self, query: &ListQuery, content: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &message(query, content))
    }
}

/// What a token is bound to, each part after its length: whose rows, of which read model, filtered and ordered how, and the
/// token's content. The order of the parameters does not matter, and neither does the size of a page.
fn message(query: &ListQuery, content: &[u8]) -> Vec<u8> {
    let mut parameters: Vec<_> =
        query.parameters.iter().filter(|(name, _)| name != list::PAGE_SIZE && name != list::PAGE_TOKEN).collect();
    parameters.sort_unstable();
    let mut message = b"diptych page token 1".to_vec();
    let mut add = |part: &[u8]| {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    };
    add(query.tenant.as_str().as_bytes());
    add(query.read_model.as_bytes());
    add(content);
    for (name, value) in parameters {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    message
}
