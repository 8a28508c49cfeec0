//! Looks at the end of the log, for all projections of the process, and stores what it saw while they are idle.

use std::{sync::Arc, time::Duration};

use command_database::Head;
use model::{EpochId, Position};
use tracing::warn;

use crate::{config::HeadPoll, entry::chain_of, process::Process, status::Seen};

/// Polls until the process ends.
pub(crate) async fn watch(process: Arc<Process>, mut epoch: EpochId) {
    let HeadPoll::Every(span) = process.config.head_poll else { return };
    let mut refreshed_at = Duration::ZERO;
    while process.pause(span).await {
        let asked_at = process.runtime.now();
        // Before the head is read: what comes in meanwhile may be newer than that.
        let received = process.inbox.end();
        let head = match process.store.head().await {
            Ok(head) => head,
            Err(error) => {
                warn!(error = %chain_of(&error), "the head of the log cannot be read; queries cannot tell how stale they are");
                continue;
            }
        };
        if head.epoch != epoch && change_epoch(&process, &head).await {
            epoch = head.epoch;
        }
        let before = std::mem::replace(&mut *process.board.seen.lock(), Seen { head: head.position, at: asked_at });
        let had = before.head.max(received);
        if head.position < had {
            warn!(head = Position::count(head.position), had = Position::count(had), "the log became shorter");
            process.log_changed.notify_one();
        }
        process.board.measure(asked_at);
        if head.position > process.inbox.end() {
            process.head_moved.notify_one();
        }
        if asked_at.saturating_sub(refreshed_at) >= process.config.head_refresh {
            refreshed_at = asked_at;
            refresh(&process, asked_at).await;
        }
    }
}

/// Whether the new lineage is known; everybody then compares their checkpoints with the log.
async fn change_epoch(process: &Process, head: &Head) -> bool {
    match process.store.lineage().await {
        Ok(lineage) => {
            warn!(epoch = %head.epoch, "the log began another life; checkpoints are compared with it");
            *process.board.lineage.lock() = Arc::new(lineage);
            process.log_changed.notify_one();
            true
        }
        Err(error) => {
            warn!(error = %chain_of(&error), "the lineage of the log cannot be read");
            false
        }
    }
}

/// Stores the head for the projections that had nothing to store themselves, so that queries can tell idle from stuck.
async fn refresh(process: &Process, now: Duration) {
    let since = now.saturating_sub(process.config.head_refresh);
    let lineage = process.board.lineage();
    // A checkpoint that was not yet compared with the log of this lineage does not get it either.
    let compared = process.board.slots.iter().filter(|slot| *slot.lineage() == *lineage);
    let idle: Vec<_> = compared.filter_map(|slot| slot.idle_since(since)).collect();
    if idle.is_empty() {
        return;
    }
    let head = process.board.seen.lock().for_commit(None, process.runtime.now());
    if let Err(error) = process.rows.refresh_head(idle, lineage, head).await {
        warn!(error = %chain_of(&error), "the head of the log cannot be stored with the checkpoints");
    }
}
