use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::JoinHandle, time::sleep_until};

use crate::client::Client;

/// Clients that read one row after the other.
pub(crate) struct Readers {
    is_over: Arc<AtomicBool>,
    began: Instant,
    clients: Vec<JoinHandle<(u64, u64)>>,
}

/// What they got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) per_second: f64,
}

/// How fast readers ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The next question follows on the last answer.
    Greedy,
    /// So many questions a second of all of them together.
    Rate(f64),
}

impl Readers {
    /// `apis` are asked in turns.
    pub(crate) fn start(threads: &Handle, apis: &[SocketAddr], path: &str, count: usize, pace: Pace) -> Self {
        let (is_over, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let interval = match pace {
            Pace::Greedy => None,
            Pace::Rate(per_second) => Some(Duration::from_secs_f64(1.0 / per_second.max(1.0))),
        };
        let next = Arc::new(Mutex::new(began));
        let apis = apis.iter().cycle().take(count);
        let clients = apis.map(|api| {
            let (is_over, next) = (is_over.clone(), next.clone());
            threads.spawn(read(*api, path.to_owned(), interval, next, is_over))
        });
        Self { clients: clients.collect(), is_over, began }
    }

    pub(crate) fn end(self, threads: &Handle) -> Read {
        let span = self.began.elapsed();
        self.is_over.store(true, SeqCst);
        threads.block_on(async {
            let mut read = Read::default();
            for client in self.clients {
                let (answered, failed) = client.await.unwrap_or_default();
                (read.answered, read.failed) = (read.answered + answered, read.failed + failed);
            }
            Read { per_second: read.answered as f64 / span.as_secs_f64(), ..read }
        })
    }
}

async fn read(
    api: SocketAddr,
    path: String,
    interval: Option<Duration>,
    next: Arc<Mutex<Instant>>,
    is_over: Arc<AtomicBool>,
) -> (u64, u64) {
    let (mut client, mut answered, mut failed) = (Client::new(api), 0, 0);
    while !is_over.load(SeqCst) {
        if let Some(interval) = interval {
            let due = {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                let due = *next;
                *next = due + interval;
                due
            };
            sleep_until(due.into()).await;
        }
        let answer = client.get(&path, &[]).await;
        if answer.is_ok_and(|answer| answer.status == 200) { answered += 1 } else { failed += 1 }
    }
    (answered, failed)
}
