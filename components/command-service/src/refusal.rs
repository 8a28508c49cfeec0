use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::CommandOutcome;

/// A refusal as its idempotency record keeps it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) title: String,
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn encode(&self) -> Bytes {
        // Three strings always have a JSON text.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(crate) fn into_outcome(self, replayed: bool) -> CommandOutcome {
        let Self { code, title, detail } = self;
        CommandOutcome::Refused { code, title, detail, replayed }
    }
}
