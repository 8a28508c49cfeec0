//! What a process has to say of its own accord: alerts, and how much space its files have left.

use std::{path::PathBuf, sync::Arc};

use event_handler::{Handle, Mode, Status};
use query_service::Queries;
use serde::Serialize;

use crate::{catching_up::AtStart, error::chain, free_space::free_bytes};

/// Something that a person has to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The event handler reads the log, or is about to: the queue does not deliver. Read models stay fresh all the same.
    QueueNotReliedOn,
    /// A projection waits as a whole: its read model gets staler until a person acts.
    ProjectionHeld,
    /// A read model is built anew because its checkpoint is not one of this log: log or rows were exchanged.
    CheckpointNotOfLog,
    /// Rows that answer lack events that the log had when the process began: they are filled anew, or catch up.
    ReadModelIncomplete,
    /// Rows were found that are not what was written; queries for them fail.
    RowsDamaged,
    /// A file system has less space left than is set as the least.
    StorageLow,
}

impl Alert {
    pub(crate) const ALL: [Self; 6] = [
        Self::QueueNotReliedOn,
        Self::ProjectionHeld,
        Self::CheckpointNotOfLog,
        Self::ReadModelIncomplete,
        Self::RowsDamaged,
        Self::StorageLow,
    ];

    /// Its name in metrics and status.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QueueNotReliedOn => "queue-not-relied-on",
            Self::ProjectionHeld => "projection-held",
            Self::CheckpointNotOfLog => "checkpoint-not-of-log",
            Self::ReadModelIncomplete => "read-model-incomplete",
            Self::RowsDamaged => "rows-damaged",
            Self::StorageLow => "storage-low",
        }
    }

    /// `critical` where what users see gets worse until somebody acts.
    pub(crate) fn severity(self) -> &'static str {
        match self {
            Self::QueueNotReliedOn | Self::ReadModelIncomplete => "warning",
            Self::ProjectionHeld | Self::CheckpointNotOfLog | Self::RowsDamaged | Self::StorageLow => "critical",
        }
    }

    /// For people: what it means, and what is to be done.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::QueueNotReliedOn => {
                "events are read from the log until the queue delivers again: nothing is to be done"
            }
            Self::ProjectionHeld => "a read model waits, and gets staler: its state says for what",
            Self::CheckpointNotOfLog => {
                "log or rows were exchanged: the read model is built anew, nothing is to be done"
            }
            Self::ReadModelIncomplete => "rows lack events that the log has: answers say so until they have caught up",
            Self::RowsDamaged => {
                "queries found rows that are not what was written, the server's log names them: run `verify`; to have all \
                 rows made anew, stop, remove rows.sqlite3, rows.sqlite3-wal and rows.sqlite3-shm, and start again"
            }
            Self::StorageLow => "less space is left than the setting storage_free_bytes_min wants: make room",
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
    pub(crate) at_start: AtStart,
    pub(crate) queries: Arc<Queries>,
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
        raised(&Seen {
            status,
            storage,
            free_bytes_min: self.free_bytes_min,
            at_start: self.at_start,
            rows_damaged: self.queries.rows_damaged(),
        })
    }
}

/// All that alerts depend on, at one moment.
struct Seen<'a> {
    status: &'a Status,
    storage: &'a [Storage],
    free_bytes_min: u64,
    at_start: AtStart,
    rows_damaged: u64,
}

fn raised(seen: &Seen<'_>) -> Vec<Alert> {
    let projections = &seen.status.projections;
    let is_raised = |alert: &Alert| match alert {
        Alert::QueueNotReliedOn => seen.status.mode != Mode::Queue,
        Alert::ProjectionHeld => projections.iter().any(|projection| projection.held.is_some()),
        Alert::CheckpointNotOfLog => projections.iter().any(|projection| projection.alarm.is_some()),
        Alert::ReadModelIncomplete => projections.iter().any(|projection| seen.at_start.lacks(projection)),
        Alert::RowsDamaged => seen.rows_damaged > 0,
        Alert::StorageLow => {
            seen.storage.iter().filter_map(|store| store.free_bytes).any(|free| free < seen.free_bytes_min)
        }
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
        use Alert::{
            CheckpointNotOfLog, ProjectionHeld, QueueNotReliedOn, ReadModelIncomplete, RowsDamaged, StorageLow,
        };
        let (fine, held) = (projection(None, None), projection(Some("an unknown event"), None));
        let anew = projection(None, Some("checkpoint 7 is not one of this log"));
        for (mode, projections, free_bytes, at_start, rows_damaged, expected) in [
            (Mode::Queue, vec![], [None, None], 0, 0, vec![]),
            (Mode::Queue, vec![fine.clone()], [Some(100), Some(100)], 0, 0, vec![]),
            (Mode::Suspect, vec![fine.clone()], [None, None], 0, 0, vec![QueueNotReliedOn]),
            (Mode::Direct, vec![fine.clone()], [None, None], 0, 0, vec![QueueNotReliedOn]),
            (Mode::Probing, vec![fine.clone()], [None, None], 0, 0, vec![QueueNotReliedOn]),
            (Mode::Queue, vec![fine.clone(), held], [None, None], 0, 0, vec![ProjectionHeld]),
            (Mode::Queue, vec![fine.clone(), anew], [None, None], 0, 0, vec![CheckpointNotOfLog]),
            (Mode::Queue, vec![fine.clone()], [None, None], 1, 0, vec![ReadModelIncomplete]),
            (Mode::Queue, vec![fine], [None, None], 0, 1, vec![RowsDamaged]),
            (Mode::Queue, vec![], [Some(100), Some(99)], 0, 0, vec![StorageLow]),
        ] {
            let status = Status { mode, last_switch: None, head: None, received: None, projections };
            let [log, rows] = free_bytes;
            let storage = [Storage { store: "log", free_bytes: log }, Storage { store: "rows", free_bytes: rows }];
            let at_start = AtStart { head: at_start };
            let seen = Seen { status: &status, storage: &storage, free_bytes_min: 100, at_start, rows_damaged };
            assert_eq!(raised(&seen), expected, "{status:?} {storage:?}");
        }
    }
}
