//! Where lists run: on workers of their own, each for a limited time.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use runtime::{Runtime, Worker};
use rusqlite::InterruptHandle;

use super::{checkpoint::Clock, flushing::Writing, list::Page, memtable::Memtable, reader::Reader};
use crate::{Error, List, ListRead};

/// The workers, each with a connection.
pub(super) struct Lists {
    seats: Vec<Seat>,
    next: AtomicUsize,
    limit: Duration,
    runtime: Runtime,
    writing: Arc<Writing>,
}

/// A flush can overtake a list; many in a row do not.
const ATTEMPTS_MAX: usize = 8;

struct Seat {
    worker: Worker,
    reader: Arc<Mutex<Reader>>,
    turn: Arc<Turn>,
}

/// Which list runs on a connection, so that ending one never ends another.
struct Turn {
    state: Mutex<TurnState>,
    interrupt: InterruptHandle,
}

#[derive(Default)]
struct TurnState {
    next: u64,
    running: Option<u64>,
}

/// Ends its list, running or waiting, when it is dropped: nobody waits for it any longer.
struct Ticket {
    turn: Arc<Turn>,
    number: u64,
    waiting: Arc<()>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let state = self.turn.state.lock();
        if state.running == Some(self.number) {
            self.turn.interrupt.interrupt();
        }
    }
}

impl Lists {
    pub(super) fn open(
        path: &Path,
        runtime: &Runtime,
        workers: usize,
        limit: Duration,
        cache_bytes: u64,
        clock: Clock,
        writing: Arc<Writing>,
    ) -> Result<Self, Error> {
        let seat = |_| {
            let reader = Reader::open(path, cache_bytes, clock)?;
            let turn = Turn { state: Mutex::default(), interrupt: reader.connection.get_interrupt_handle() };
            let worker = runtime.worker("query-database-list");
            Ok(Seat { worker, reader: Arc::new(Mutex::new(reader)), turn: Arc::new(turn) })
        };
        let seats = (0..workers.max(1)).map(seat).collect::<Result<_, Error>>()?;
        Ok(Self { seats, next: AtomicUsize::new(0), limit, runtime: runtime.clone(), writing })
    }

    /// One page, or [`Error::TimeLimit`]. The time that a list waits for its worker counts, and for indexes.
    pub(super) async fn run(&self, read_model: &str, list: List) -> Result<Option<ListRead>, Error> {
        let page = self.runtime.timeout(self.limit, self.page(read_model, &list)).await;
        page.unwrap_or_else(|_| Err(Error::TimeLimit { read_model: read_model.to_owned(), limit: self.limit }))
    }

    async fn page(&self, read_model: &str, list: &List) -> Result<Option<ListRead>, Error> {
        loop {
            match self.in_turn(read_model, list).await? {
                Page::Read(read) => return Ok(read),
                Page::Overtaken => return Err(Error::NotServing { read_model: read_model.to_owned() }),
                Page::Unindexed => {
                    // It goes on for the lists after this one, should this one have no more time.
                    let making = self.writing.clone().make_indexes(list.generation);
                    let made = self.runtime.spawn("query-database indexes", making).await;
                    made.unwrap_or(Err(Error::WorkerGone))?;
                }
            }
        }
    }

    async fn in_turn(&self, read_model: &str, list: &List) -> Result<Page, Error> {
        let seat = &self.seats[self.next.fetch_add(1, Ordering::Relaxed) % self.seats.len()];
        let ticket = seat.turn.ticket();
        let job = {
            let (reader, turn, number) = (seat.reader.clone(), seat.turn.clone(), ticket.number);
            let (waited_for, runtime) = (Arc::downgrade(&ticket.waiting), self.runtime.clone());
            let memtable = self.writing.memtable.clone();
            let (read_model, list) = (read_model.to_owned(), list.clone());
            let span = tracing::Span::current();
            move || {
                let _entered = span.enter();
                turn.begin(number);
                // Asked after the turn began: from now on the ticket's drop interrupts.
                let page =
                    waited_for.upgrade().map(|_| read(&mut reader.lock(), &memtable, &read_model, &list, &runtime));
                turn.end();
                page
            }
        };
        seat.worker.run(job).await.ok().flatten().unwrap_or(Err(Error::WorkerGone))
    }
}

fn read(
    reader: &mut Reader,
    memtable: &Memtable,
    read_model: &str,
    list: &List,
    runtime: &Runtime,
) -> Result<Page, Error> {
    for _ in 0..ATTEMPTS_MAX {
        let now = runtime.now();
        // Before the snapshot, which then has whatever has left memory.
        let overlay = memtable.overlay(list.generation, now);
        let page = reader.list(read_model, list, overlay.as_ref(), now)?;
        if !matches!(page, Page::Overtaken) {
            return Ok(page);
        }
    }
    Ok(Page::Overtaken)
}

impl Turn {
    fn ticket(self: &Arc<Self>) -> Ticket {
        let mut state = self.state.lock();
        state.next += 1;
        Ticket { turn: self.clone(), number: state.next, waiting: Arc::new(()) }
    }

    fn begin(&self, number: u64) {
        self.state.lock().running = Some(number);
    }

    fn end(&self) {
        self.state.lock().running = None;
    }
}
