use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// A JSON head, and parts that pass through unparsed. On the wire: length of the head (u32, big-endian), the head, and each
/// part with its length in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<H> {
    /// What is read.
    pub head: H,
    /// What is handed on.
    pub parts: Vec<Bytes>,
}

impl<H> Frame<H> {
    /// A frame without parts.
    pub fn new(head: H) -> Self {
        Self { head, parts: Vec::new() }
    }
}

impl<H: Serialize> Frame<H> {
    /// The bytes that are sent.
    ///
    /// # Errors
    /// [`Error::Frame`] where the head is no JSON, or something is longer than 4 GiB.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let head = serde_json::to_vec(&self.head).map_err(|error| Error::Frame { found: error.to_string() })?;
        let parts: usize = self.parts.iter().map(|part| part.len() + LENGTH_BYTES).sum();
        let mut bytes = BytesMut::with_capacity(LENGTH_BYTES + head.len() + parts);
        for part in std::iter::once(head.as_slice()).chain(self.parts.iter().map(Bytes::as_ref)) {
            let length = u32::try_from(part.len());
            bytes.put_u32(length.map_err(|_| Error::Frame { found: format!("a part of {} bytes", part.len()) })?);
            bytes.extend_from_slice(part);
        }
        Ok(bytes.freeze())
    }
}

impl<H: DeserializeOwned> Frame<H> {
    /// Reads what [`Frame::encode`] wrote. The parts share the memory of `bytes`.
    ///
    /// # Errors
    /// [`Error::Frame`].
    pub fn decode(mut bytes: Bytes) -> Result<Self, Error> {
        let head = next(&mut bytes)?.ok_or_else(|| Error::Frame { found: "nothing".to_owned() })?;
        let head = serde_json::from_slice(&head).map_err(|error| Error::Frame { found: error.to_string() })?;
        let mut parts = Vec::new();
        while let Some(part) = next(&mut bytes)? {
            parts.push(part);
        }
        Ok(Self { head, parts })
    }
}

const LENGTH_BYTES: usize = 4;

fn next(bytes: &mut Bytes) -> Result<Option<Bytes>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let cut = || Error::Frame { found: "it ends in the middle of a part".to_owned() };
    let length = bytes.try_get_u32().map_err(|_| cut())? as usize;
    if bytes.len() < length { Err(cut()) } else { Ok(Some(bytes.split_to(length))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(head: Vec<String>, parts: Vec<Vec<u8>>) {
            let frame = Frame { head, parts: parts.into_iter().map(Bytes::from).collect() };
            prop_assert_eq!(&Frame::decode(frame.encode().expect("encoded")).expect("decoded"), &frame);
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes: Vec<u8>) {
            let _ = Frame::<Vec<String>>::decode(bytes.into());
        }
    }

    #[test]
    fn a_frame_that_was_cut_is_an_error() {
        let whole = Frame { head: "head", parts: vec![Bytes::from_static(b"part")] }.encode().expect("encoded");
        for length in [0, 3, 7, whole.len() - 1] {
            assert!(Frame::<String>::decode(whole.slice(..length)).is_err(), "{length} bytes");
        }
    }
}
