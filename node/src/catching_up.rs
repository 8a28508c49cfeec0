//! How far rows are behind the log at a start, and when they have what the log had then.

use std::{sync::Arc, time::Duration};

use event_handler::{Handle, ProjectionStatus};
use model::Position;
use query_database::GenerationStatus;
use runtime::{Runtime, Shutdown};

/// How often it is looked whether they have it.
const INTERVAL: Duration = Duration::from_millis(50);

/// What a start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtStart {
    /// Events in the log.
    pub(crate) head: u64,
}

impl AtStart {
    /// Whether queries are answered from rows that lack what the log had when this process began.
    pub(crate) fn lacks(self, projection: &ProjectionStatus) -> bool {
        let answers = projection.serving || projection.generation.is_none();
        answers && Position::count(projection.checkpoint) < self.head
    }

    /// Says in the log how far behind the rows are that answer, and when no longer. `generations` are those that the start
    /// found, `read_models` the names of those that this binary keeps.
    pub(crate) async fn tell(
        self,
        generations: Vec<GenerationStatus>,
        read_models: Vec<String>,
        handler: Arc<Handle>,
        runtime: Runtime,
        shutdown: Shutdown,
    ) {
        let reached = |name: &String| {
            let serving = generations.iter().find(|found| found.read_model == *name && found.serving);
            Position::count(serving.and_then(|found| found.position))
        };
        let least = read_models.iter().map(reached).min().unwrap_or(self.head);
        if least >= self.head {
            tracing::info!(head = self.head, "log and read models are level");
            return;
        }
        tracing::info!(
            head = self.head,
            read_models.position = least,
            "the read models lack events of the log: they catch up, and answers say that they are stale until then"
        );
        let began = runtime.now();
        while handler.status().projections.iter().any(|projection| self.lacks(projection)) {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = runtime.sleep(INTERVAL) => {}
            }
        }
        let took = runtime.now().saturating_sub(began);
        tracing::info!(head = self.head, took = ?took, "the read models have caught up");
    }
}
