use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stays as it is in an encoded key: the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a row is found by. Its parts are percent-encoded and joined by `/`, in paths and in storage alike.
///
/// ```
/// use model::{Key, KeyError};
/// #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
/// struct StockCode(String);
/// impl Key for StockCode {
///     fn parts(&self) -> Vec<String> { vec![self.0.clone()] }
/// }
/// assert_eq!(StockCode("BANK CHARGES".into()).encoded()?, "BANK%20CHARGES");
/// # Ok::<(), KeyError>(())
/// ```
pub trait Key: Clone + Ord + Send + 'static {
    /// The parts of the key as plain text, none of them encoded.
    fn parts(&self) -> Vec<String>;

    /// The key as paths and storage spell it.
    ///
    /// # Errors
    /// [`KeyError`] when it has no parts, an empty part, or more than 256 bytes.
    fn encoded(&self) -> Result<String, KeyError> {
        encode(&self.parts())
    }
}

/// Why something is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No parts, or an empty part.
    #[error("a key has at least one part and no empty part")]
    Empty,
    /// Too long.
    #[error("the key has {bytes} bytes when encoded, the limit is {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8 once decoded.
    #[error("the key is not percent-encoded UTF-8")]
    NotText,
}

const KEY_BYTES_MAX: usize = 256;

fn within_limit(key: String) -> Result<String, KeyError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong { bytes: key.len(), limit: KEY_BYTES_MAX });
    }
    Ok(key)
}

/// One part of a key as paths and storage spell it.
#[must_use]
pub fn encode_part(part: &str) -> String {
    utf8_percent_encode(part, ENCODED).to_string()
}

/// The stored spelling of a key that came in a path, where a client may have encoded more or less than is needed.
///
/// # Errors
/// [`KeyError`] as [`Key::encoded`] has it.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, KeyError> {
    // Every point read comes by here, and nearly every key is already spelled as it is stored.
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    let parts = path.split('/').map(|part| match percent_decode_str(part).decode_utf8() {
        Ok(text) if text.is_empty() => Err(KeyError::Empty),
        Ok(text) => Ok(encode_part(&text)),
        Err(_) => Err(KeyError::NotText),
    });
    within_limit(parts.collect::<Result<Vec<_>, _>>()?.join("/")).map(Cow::Owned)
}

fn encode(parts: &[String]) -> Result<String, KeyError> {
    if parts.is_empty() || parts.iter().any(String::is_empty) {
        return Err(KeyError::Empty);
    }
    // A fold asks for every event, and nearly every part is spelled as it is.
    let mut encoded = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for (place, part) in parts.iter().enumerate() {
        encoded.extend((place > 0).then_some("/"));
        encoded.extend(utf8_percent_encode(part, ENCODED));
    }
    within_limit(encoded)
}

/// Whether `path` is a key without anything to encode in it.
fn is_plain(path: &str) -> bool {
    let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    path.len() <= KEY_BYTES_MAX
        && path.as_bytes().split(|byte| *byte == b'/').all(|part| !part.is_empty() && part.iter().all(unreserved))
}

impl Key for String {
    fn parts(&self) -> Vec<String> {
        vec![self.clone()]
    }

    fn encoded(&self) -> Result<String, KeyError> {
        // Most keys are texts, and most of those are spelt as they are.
        if is_plain(self) && !self.contains('/') {
            return Ok(self.clone());
        }
        encode(&self.parts())
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn parts(&self) -> Vec<String> {
        let mut parts = self.0.parts();
        parts.extend(self.1.parts());
        parts
    }
}
