//! Whether what was folded, or received, is still in the log.

use std::sync::Arc;

use command_database::{Error, ReadLimit};
use message_queue::Delivery;
use model::{EpochId, Hash, Lineage, Position};

use crate::process::Process;

/// What the log says of a position and a hash.
pub(crate) struct Found {
    /// Whether it has this event there; nothing at all is the beginning of every log.
    pub(crate) is_there: bool,
    /// The lineage by which it was looked for.
    pub(crate) lineage: Arc<Lineage>,
}

/// Looks for the event of this hash at this position, and in the epoch that the lineage gives to it.
pub(crate) async fn find(process: &Process, position: Option<Position>, hash: Hash) -> Result<Found, Error> {
    loop {
        let lineage = Arc::new(process.store.lineage().await?);
        let Some(position) = position else { return Ok(Found { is_there: true, lineage }) };
        let before = Position::new(position.get() - 1);
        let found = process.store.read(before, ReadLimit { events_max: 1, bytes_max: 1 }).await?;
        let Some(event) = found.first().filter(|event| event.position == position && event.hash == hash) else {
            return Ok(Found { is_there: false, lineage });
        };
        // Otherwise another life began between the two reads.
        if lineage.epoch_of(position) == Some(event.epoch) {
            return Ok(Found { is_there: true, lineage });
        }
    }
}

/// An epoch that `lineage` does not have, among those of the messages.
pub(crate) fn stranger(lineage: &Lineage, deliveries: &[Delivery]) -> Option<EpochId> {
    let is_known = |epoch: EpochId| lineage.0.iter().any(|known| known.id == epoch);
    deliveries.iter().map(|delivery| delivery.event.epoch).find(|epoch| !is_known(*epoch))
}
