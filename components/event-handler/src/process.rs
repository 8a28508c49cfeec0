//! What the tasks of one event handler share.

use std::{sync::Arc, time::Duration};

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
    /// The log has more than was received.
    pub(crate) head_moved: Notify,
    /// The log may be another one than before.
    pub(crate) log_changed: Notify,
}

impl Process {
    /// Waits for `span`; `false` when the process is to end instead.
    pub(crate) async fn pause(&self, span: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.requested() => false,
            () = self.runtime.sleep(span) => true,
        }
    }
}
