use model::{Change, EventId, FoldError, Hash, Keys, Projection, Recorded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts and chains the events of its key: an event that is missing, comes twice or out of order shows, whatever it says.
///
/// There is one row for the whole log, `log/all`, and one for each stream, such as `account/a-1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// SHA-256 over the hash before and the event's id, in hexadecimal; empty before the first event.
    pub h: String,
    /// How many events.
    pub n: u64,
}

impl Ledger {
    /// The ledger of these events, in this order.
    pub fn of(events: impl IntoIterator<Item = EventId>) -> Self {
        events.into_iter().fold(Self::default(), Self::after)
    }

    /// The ledger after one more event.
    #[must_use]
    pub fn after(self, event: EventId) -> Self {
        let mut bytes = self.h.into_bytes();
        bytes.extend_from_slice(event.0.as_bytes());
        Self { h: Hash::of(&bytes).to_string(), n: self.n + 1 }
    }
}

impl Projection for Ledger {
    const NAME: &'static str = "ledger";
    const VERSION: u32 = 1;
    type Key = (String, String);

    fn keys(event: &Recorded) -> Result<Keys<Self::Key>, FoldError> {
        let stream = (event.stream.aggregate.to_string(), event.id().to_owned());
        Ok([("log".to_owned(), "all".to_owned()), stream].into_iter().collect())
    }

    fn fold(_: &Self::Key, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        Ok(Change::Put(row.unwrap_or_default().after(event.event_id)))
    }
}
