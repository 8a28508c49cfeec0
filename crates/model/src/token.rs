use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{EpochId, Position};

/// Names a prefix of the log: everything up to `position`, as written in `epoch`. Opaque to clients.
///
/// Text form: `v1.` and the URL-safe base64 of 16 bytes of epoch and 8 bytes of position, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyToken {
    /// In which life of the log.
    pub epoch: EpochId,
    /// The last position of the prefix.
    pub position: Position,
}

/// The text is no token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a consistency token: send one back as it was received")]
pub struct TokenError;

impl ConsistencyToken {
    const PREFIX: &str = "v1.";
}

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(self.epoch.0.as_bytes());
        bytes[16..].copy_from_slice(&self.position.get().to_be_bytes());
        let mut text = [0; 32];
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(|_| fmt::Error)?;
        formatter.write_str(Self::PREFIX)?;
        formatter.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for ConsistencyToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.strip_prefix(Self::PREFIX).ok_or(TokenError)?;
        let bytes: [u8; 24] =
            URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError)?.try_into().map_err(|_| TokenError)?;
        let (epoch, position) = bytes.split_at(16);
        let epoch = EpochId(Uuid::from_slice(epoch).map_err(|_| TokenError)?);
        let position = position.try_into().map(u64::from_be_bytes).map_err(|_| TokenError)?;
        Ok(Self { epoch, position: Position::new(position).ok_or(TokenError)? })
    }
}
