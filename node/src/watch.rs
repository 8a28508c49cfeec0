//! What a process has to say of its own accord: alerts, and how much space its files have left.

use std::{path::PathBuf, sync::Arc};

use event_handler::{Handle, Mode, Status};
use serde::Serialize;

use crate::{error::chain, free_space::free_bytes};

/// Something that a person has to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The event handler reads the log, or is about to: the queue does not deliver. Read models stay fresh all the same.
    QueueNotReliedOn,
    /// A projection waits as a whole: its read model gets staler until a person acts.
    ProjectionHeld,
    /// A read model is built anew because its checkpoint is not one of this log: log or rows were exchanged.
    CheckpointNotOfLog,
    /// A file system has less space left than is set as the least.
    StorageLow,
}

impl Alert {
    pub(crate) const ALL: [Self; 4] =
        [Self::QueueNotReliedOn, Self::ProjectionHeld, Self::CheckpointNotOfLog, Self::StorageLow];

    /// Its name in metrics and status.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QueueNotReliedOn => "queue-not-relied-on",
            Self::ProjectionHeld => "projection-held",
            Self::CheckpointNotOfLog => "checkpoint-not-of-log",
            Self::StorageLow => "storage-low",
        }
    }

    /// `critical` where what users see gets worse until somebody acts.
    pub(crate) fn severity(self) -> &'static str {
        match self {
            Self::QueueNotReliedOn => "warning",
            Self::ProjectionHeld | Self::CheckpointNotOfLog | Self::StorageLow => "critical",
        }
    }
}

/// A file and the space that is left for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Storage {
    /// `log` or `rows`.
    pub(crate) store: &'static str,
    /// `None` where the system does not tell.
    pub(crate) free_bytes: Option<u64>,
}

/// Looks after a process.
pub(crate) struct Watch {
    pub(crate) handler: Arc<Handle>,
    /// Files of the databases, by what metrics call them.
    pub(crate) stores: [(&'static str, PathBuf); 2],
    pub(crate) free_bytes_min: u64,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").field("stores", &self.stores).finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn storage(&self) -> Vec<Storage> {
        let storage = |(store, path): &(&'static str, PathBuf)| {
            let free_bytes = free_bytes(path).inspect_err(|error| {
                tracing::warn!(store.name = store, error = %chain(error), "the free space of a file system is not known");
            });
            Storage { store, free_bytes: free_bytes.ok() }
        };
        self.stores.iter().map(storage).collect()
    }

    /// Those that are raised.
    pub(crate) fn alerts(&self, status: &Status, storage: &[Storage]) -> Vec<Alert> {
        raised(status, storage, self.free_bytes_min)
    }
}

fn raised(status: &Status, storage: &[Storage], free_bytes_min: u64) -> Vec<Alert> {
    let is_raised = |alert: &Alert| match alert {
        Alert::QueueNotReliedOn => status.mode != Mode::Queue,
        Alert::ProjectionHeld => status.projections.iter().any(|projection| projection.held.is_some()),
        Alert::CheckpointNotOfLog => status.projections.iter().any(|projection| projection.alarm.is_some()),
        Alert::StorageLow => storage.iter().filter_map(|store| store.free_bytes).any(|free| free < free_bytes_min),
    };
    Alert::ALL.into_iter().filter(is_raised).collect()
}

#[cfg(test)]
mod tests {
    use event_handler::ProjectionStatus;

    use super::*;

    fn projection(held: Option<&str>, alarm: Option<&str>) -> ProjectionStatus {
        ProjectionStatus {
            name: "sales".to_owned(),
            version: 1,
            generation: None,
            serving: true,
            checkpoint: None,
            lag_events: 0,
            held: held.map(Arc::from),
            alarm: alarm.map(Arc::from),
            applied_from_queue: 0,
            applied_from_log: 0,
        }
    }

    #[test]
    fn an_alert_is_raised_while_its_reason_lasts() {
        use Alert::{CheckpointNotOfLog, ProjectionHeld, QueueNotReliedOn, StorageLow};
        let (fine, held) = (projection(None, None), projection(Some("an unknown event"), None));
        let anew = projection(None, Some("checkpoint 7 is not one of this log"));
        for (mode, projections, free_bytes, expected) in [
            (Mode::Queue, vec![], [None, None], vec![]),
            (Mode::Queue, vec![fine.clone()], [Some(100), Some(100)], vec![]),
            (Mode::Suspect, vec![fine.clone()], [None, None], vec![QueueNotReliedOn]),
            (Mode::Direct, vec![fine.clone()], [None, None], vec![QueueNotReliedOn]),
            (Mode::Probing, vec![fine.clone()], [None, None], vec![QueueNotReliedOn]),
            (Mode::Queue, vec![fine.clone(), held], [None, None], vec![ProjectionHeld]),
            (Mode::Queue, vec![fine, anew], [None, None], vec![CheckpointNotOfLog]),
            (Mode::Queue, vec![], [Some(100), Some(99)], vec![StorageLow]),
        ] {
            let status = Status { mode, last_switch: None, head: None, received: None, projections };
            let [log, rows] = free_bytes;
            let storage = [Storage { store: "log", free_bytes: log }, Storage { store: "rows", free_bytes: rows }];
            assert_eq!(raised(&status, &storage, 100), expected, "{status:?} {storage:?}");
        }
    }
}
