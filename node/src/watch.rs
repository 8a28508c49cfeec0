//! What a process has to say of its own accord: alerts, and how much space its files have left.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use event_handler::{Handle, Mode, ProjectionStatus, Status};
use query_service::Queries;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{admin, catching_up::AtStart, error::chain, free_space::free_bytes};

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

    /// For people: what it means, and what is to be done. `embedded` where the rows are files of this process.
    fn advice(self, embedded: bool) -> &'static str {
        match self {
            Self::QueueNotReliedOn => {
                "events are read from the log until the queue delivers again: nothing is to be done"
            }
            Self::ProjectionHeld => "a read model waits, and gets staler: its state says for what",
            Self::CheckpointNotOfLog => {
                "log or rows were exchanged: the read model is built anew, nothing is to be done"
            }
            Self::ReadModelIncomplete => "rows lack events that the log has: answers say so until they have caught up",
            Self::RowsDamaged if embedded => {
                "queries found rows that are not what was written, the server's log names them: run `verify`; to have all \
                 rows made anew, stop, remove rows.sqlite3, rows.sqlite3-wal and rows.sqlite3-shm, and start again"
            }
            Self::RowsDamaged => {
                "queries found rows that are not what was written, the Query Service's log names them: run `verify`; to have \
                 all rows made anew, stop the Event Handlers, drop the schema diptych_rows of the Query Database, and start \
                 them again"
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

/// Looks after a process: after whichever boxes it runs.
#[derive(Default)]
pub(crate) struct Watch {
    /// Files of the databases, by what metrics call them; none where databases are servers.
    pub(crate) stores: Vec<(&'static str, PathBuf)>,
    pub(crate) free_bytes_min: u64,
    /// The event handler, once there is one, and how far the log was then.
    pub(crate) handler: OnceLock<(Arc<Handle>, AtStart)>,
    /// The query service, once there is one.
    pub(crate) queries: OnceLock<Arc<Queries>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").field("stores", &self.stores).finish_non_exhaustive()
    }
}

/// What a process has to say at one moment.
pub(crate) struct Watched {
    pub(crate) status: Option<Status>,
    pub(crate) storage: Vec<Storage>,
    /// Each alert that it can tell of, and whether that is raised.
    pub(crate) alerts: Vec<(Alert, bool)>,
}

impl Watch {
    pub(crate) fn look(&self) -> Watched {
        let status = self.handler.get().map(|(handler, _)| handler.status());
        let storage = self.storage();
        let handler = self.handler.get().zip(status.as_ref()).map(|((_, at_start), status)| (status, *at_start));
        let rows_damaged = self.queries.get().map(|queries| queries.rows_damaged());
        let seen = Seen { handler, storage: &storage, free_bytes_min: self.free_bytes_min, rows_damaged };
        let alerts = Alert::ALL.into_iter().filter_map(|alert| Some((alert, seen.is_raised(alert)?))).collect();
        Watched { status, storage, alerts }
    }

    /// What `/status` shows of this: mode, alerts and projections.
    pub(crate) fn show(&self, watched: &Watched, status: &mut Value) {
        let raised = watched.alerts.iter().filter(|(_, is_raised)| *is_raised);
        let shown = |(alert, _): &(Alert, bool)| json!({ "alert": alert.name(), "severity": alert.severity(), "advice": alert.advice(!self.stores.is_empty()) });
        status["alerts"] = raised.map(shown).collect();
        if !watched.storage.is_empty() {
            status["storage"] = json!(watched.storage);
        }
        let Some((seen, (_, at_start))) = watched.status.as_ref().zip(self.handler.get()) else { return };
        status["mode"] = json!({ "name": seen.mode, "last_switch": seen.last_switch });
        let projection = |projection: &ProjectionStatus| {
            let mut shown = admin::projection(projection);
            shown["incomplete"] = json!(at_start.lacks(projection));
            shown
        };
        status["projections"] = seen.projections.iter().map(projection).collect();
    }

    fn storage(&self) -> Vec<Storage> {
        let storage = |(store, path): &(&'static str, PathBuf)| {
            let free_bytes = free_bytes(path).inspect_err(|error| {
                tracing::warn!(store.name = store, error = %chain(error), "the free space of a file system is not known");
            });
            Storage { store, free_bytes: free_bytes.ok() }
        };
        self.stores.iter().map(storage).collect()
    }
}

/// All that alerts depend on, at one moment.
struct Seen<'a> {
    handler: Option<(&'a Status, AtStart)>,
    storage: &'a [Storage],
    free_bytes_min: u64,
    rows_damaged: Option<u64>,
}

impl Seen<'_> {
    /// `None` where this process cannot tell.
    fn is_raised(&self, alert: Alert) -> Option<bool> {
        let any = |is_so: &dyn Fn(&ProjectionStatus, AtStart) -> bool| {
            let (status, at_start) = self.handler?;
            Some(status.projections.iter().any(|projection| is_so(projection, at_start)))
        };
        match alert {
            Alert::QueueNotReliedOn => self.handler.map(|(status, _)| status.mode != Mode::Queue),
            Alert::ProjectionHeld => any(&|projection, _| projection.held.is_some()),
            Alert::CheckpointNotOfLog => any(&|projection, _| projection.alarm.is_some()),
            Alert::ReadModelIncomplete => any(&|projection, at_start| at_start.lacks(projection)),
            Alert::RowsDamaged => self.rows_damaged.map(|rows| rows > 0),
            Alert::StorageLow if self.storage.is_empty() => None,
            Alert::StorageLow => {
                Some(self.storage.iter().filter_map(|store| store.free_bytes).any(|free| free < self.free_bytes_min))
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            owned: true,
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
            let (handler, rows_damaged) = (Some((&status, at_start)), Some(rows_damaged));
            let seen = Seen { handler, storage: &storage, free_bytes_min: 100, rows_damaged };
            let raised: Vec<_> = Alert::ALL.into_iter().filter(|alert| seen.is_raised(*alert) == Some(true)).collect();
            assert_eq!(raised, expected, "{status:?} {storage:?}");
        }
    }

    #[test]
    fn a_process_tells_of_what_it_can_see_and_of_nothing_else() {
        let seen = Seen { handler: None, storage: &[], free_bytes_min: 1, rows_damaged: Some(0) };
        let told: Vec<_> = Alert::ALL.into_iter().filter(|alert| seen.is_raised(*alert).is_some()).collect();
        assert_eq!(told, [Alert::RowsDamaged]);
    }
}
