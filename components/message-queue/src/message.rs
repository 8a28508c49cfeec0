//! What every queue knows of a message: its id, and about how large it is.

use model::StoredEvent;

/// What ids, times, hash and numbers take, beside the texts of which a domain says how long they are.
const FIXED_BYTES: usize = 256;

/// About how many bytes a message holds.
pub(crate) fn length(event: &StoredEvent) -> usize {
    let texts = [
        event.stream.tenant.as_str(),
        &event.stream.aggregate,
        &event.stream.id,
        &event.event_type.name,
        event.metadata.principal.as_str(),
        event.metadata.tracestate.as_deref().unwrap_or_default(),
    ];
    FIXED_BYTES + texts.map(str::len).iter().sum::<usize>() + event.payload.len()
}

/// The message id: `epoch:position:event id`. Position alone would let a new epoch's event pass for an old one's.
#[must_use]
pub fn message_id(event: &StoredEvent) -> String {
    format!("{}:{}:{}", event.epoch, event.position, event.event_id)
}
