use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use command_database::{EventStore, PostgresConfig, PostgresEventStore, ReadLimit, verify_link};
use model::{Hash, Position};
use tokio::{runtime::Handle, task::JoinHandle, time::sleep};

use crate::stage::Trouble;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A reader of the log that follows it as an event handler does: what it has read it never reads again.
pub(crate) struct Tailer {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Result<Followed, Trouble>>,
}

/// What a reader saw.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) events: u64,
    /// Positions that were not the next one, or whose chain did not fit: something had changed behind the reader.
    pub(crate) skipped: u64,
    /// The longest time that the log had more and a look at it brought nothing.
    pub(crate) stalled: Duration,
    /// The chain up to what was read.
    pub(crate) hash: Hash,
}

impl Tailer {
    pub(crate) fn start(threads: &Handle, url: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        Self { task: threads.spawn(follow(url, is_over.clone())), is_over }
    }

    /// Ends once it has all of the log.
    pub(crate) fn end(self, threads: &Handle) -> Result<Followed, Trouble> {
        self.is_over.store(true, SeqCst);
        threads.block_on(self.task)?
    }
}

async fn follow(url: String, is_over: Arc<AtomicBool>) -> Result<Followed, Trouble> {
    let store = PostgresEventStore::open(PostgresConfig::new(url), &runtime::Runtime::tokio()).await?;
    let (mut followed, mut last) = (Followed::default(), None::<Position>);
    let mut moved = Instant::now();
    loop {
        // In this order: what the head tells is there for the read that follows.
        let (is_last, head) = (is_over.load(SeqCst), store.head().await?.position);
        let events = store.read(last, ReadLimit::default()).await?;
        for event in &events {
            let fits = event.position == Position::after(last) && verify_link(&followed.hash, event);
            followed.skipped += u64::from(!fits);
            (last, followed.hash) = (Some(event.position), event.hash);
            followed.events += 1;
        }
        if !events.is_empty() || last >= head {
            moved = Instant::now();
        }
        followed.stalled = followed.stalled.max(moved.elapsed());
        if is_last && last >= head {
            return Ok(followed);
        }
        sleep(LOOK_EVERY).await;
    }
}
