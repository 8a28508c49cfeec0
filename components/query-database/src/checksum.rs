//! How a row is known to be what was written: the same two checksums on every engine.

use model::{IndexValue, Position, RowKey};

/// A value of an index column as a statement gives it.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    /// NULL, and whatever no index column holds.
    Null,
    Integer(i64),
    Text(&'a [u8]),
}

impl<'a> From<&'a IndexValue> for Value<'a> {
    fn from(value: &'a IndexValue) -> Self {
        match value {
            IndexValue::Null => Self::Null,
            IndexValue::Integer(number) => Self::Integer(*number),
            IndexValue::Text(text) => Self::Text(text.as_bytes()),
        }
    }
}

/// The two checksums of a row in one column: over what a point read serves, and over what lists compare and sort by.
///
/// Apart, so that a point read need not fetch the index columns. CRC-32 (IEEE 802.3): against accidents, not against people.
///
/// `bytes` is only worked with: a checksum of one long piece takes a fraction of what those of many short ones do.
pub(crate) fn checksum(
    bytes: &mut Vec<u8>,
    key: &RowKey,
    position: Position,
    body: &[u8],
    index: &[IndexValue],
) -> i64 {
    bytes.clear();
    for value in index {
        index_parts(value.into(), |part| bytes.extend_from_slice(part));
    }
    let of_index = crc32fast::hash(bytes);
    bytes.clear();
    body_parts(key.tenant.as_str(), &key.key, position, body, |part| bytes.extend_from_slice(part));
    ((u64::from(crc32fast::hash(bytes)) << 32) | u64::from(of_index)).cast_signed()
}

/// Whether `checksum` was made of this body, under this key.
pub(crate) fn fits_body(checksum: i64, tenant: &str, key: &str, position: Position, body: &[u8]) -> bool {
    let mut hasher = crc32fast::Hasher::new();
    body_parts(tenant, key, position, body, |part| hasher.update(part));
    (checksum.cast_unsigned() >> 32) == u64::from(hasher.finalize())
}

/// Whether `checksum` was made of these index values. It fails where `values` does.
pub(crate) fn fits_index<'a, E>(
    checksum: i64,
    values: impl IntoIterator<Item = Result<Value<'a>, E>>,
) -> Result<bool, E> {
    let mut hasher = crc32fast::Hasher::new();
    for value in values {
        index_parts(value?, |part| hasher.update(part));
    }
    Ok(checksum.cast_unsigned() & u64::from(u32::MAX) == u64::from(hasher.finalize()))
}

fn body_parts(tenant: &str, key: &str, position: Position, body: &[u8], mut each: impl FnMut(&[u8])) {
    // Neither a tenant nor an encoded key has a byte of 0xff: the three cannot run into each other.
    each(tenant.as_bytes());
    each(&[0xff]);
    each(key.as_bytes());
    each(&[0xff]);
    each(&position.get().to_le_bytes());
    each(body);
}

fn index_parts(value: Value<'_>, mut each: impl FnMut(&[u8])) {
    match value {
        Value::Integer(number) => {
            each(&[1]);
            each(&number.to_le_bytes());
        }
        Value::Text(text) => {
            each(&[2]);
            each(&(text.len() as u64).to_le_bytes());
            each(text);
        }
        Value::Null => each(&[0]),
    }
}
