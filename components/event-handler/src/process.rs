//! What the tasks of one event handler share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use command_database::EventStore;
use message_queue::MessageQueue;
use model::Registry;
use query_database::RowWriter;
use runtime::{Runtime, Shutdown};
use tokio::sync::Notify;

use crate::{config::Config, direct::LogReader, inbox::Inbox, status::Board, telemetry::Metrics};

pub(crate) struct Process {
    pub(crate) runtime: Runtime,
    pub(crate) registry: Registry,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) queue: Arc<dyn MessageQueue>,
    pub(crate) rows: Arc<dyn RowWriter>,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) inbox: Inbox,
    pub(crate) log: LogReader,
    pub(crate) board: Board,
    /// How many projections keep up with the log; the others are filled from it.
    pub(crate) level: Arc<AtomicUsize>,
    /// The log has more than was received.
    pub(crate) head_moved: Notify,
    /// The log may be another one than before.
    pub(crate) log_changed: Notify,
}

impl Process {
    /// How long a commit of a projection that is filled may take. Nobody waits for its turn where none keeps up.
    pub(crate) fn fill_commit_target(&self) -> Duration {
        let is_alone = self.level.load(Ordering::Relaxed) == 0;
        if is_alone { self.config.fill_alone_commit_target } else { self.config.fill_commit_target }
    }

    /// Waits for `span`; `false` when the process is to end instead.
    pub(crate) async fn pause(&self, span: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.requested() => false,
            () = self.runtime.sleep(span) => true,
        }
    }
}
