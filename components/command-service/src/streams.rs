//! The streams that a shard knows: those with work under way, and as many idle ones as fit into memory.

use std::{
    collections::VecDeque,
    ops::{Index, IndexMut},
    sync::Arc,
};

use foldhash::{HashMap, HashMapExt};
use model::{Instance, StreamId, StreamVersion};

use crate::job::{Job, Kind};

/// Events that a new stream has before its state is measured: until then it is taken to be as large as what it is made of.
const UNWEIGHED_EVENTS: u64 = 8;
/// What a stream costs beside its state's text, roughly: ids, queue, map entry, the boxed state's own overhead.
const STREAM_OVERHEAD_BYTES: usize = 512;

pub(crate) enum State {
    /// Not in memory. It is loaded once nothing of the stream is under way.
    Absent,
    /// On its way from the store; commands wait.
    Loading,
    /// Taken to be a new stream without a look at the store, until an append has confirmed it.
    Assumed(Box<dyn Instance>),
    /// In memory, evolved by all its events, also those still under way.
    Known(Box<dyn Instance>),
}

pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) kind: Arc<Kind>,
    pub(crate) state: State,
    /// Of the state in memory.
    pub(crate) version: Option<StreamVersion>,
    /// Appends that have no outcome yet.
    pub(crate) under_way: u32,
    /// The batch that the last of them is in.
    pub(crate) batch: u64,
    pub(crate) waiting: VecDeque<Box<Job>>,
    /// Events up to the last snapshot.
    pub(crate) snapshot_events: u64,
    bytes: usize,
    /// Its events when its state was measured last, or [`UNWEIGHED_EVENTS`] where what they brought was counted instead.
    weighed_events: u64,
    used: bool,
    vacant: bool,
}

impl Stream {
    fn new(id: StreamId, kind: Arc<Kind>) -> Self {
        Self {
            id,
            kind,
            state: State::Absent,
            version: None,
            under_way: 0,
            batch: 0,
            waiting: VecDeque::new(),
            snapshot_events: 0,
            bytes: STREAM_OVERHEAD_BYTES,
            weighed_events: 0,
            used: true,
            vacant: false,
        }
    }

    fn is_busy(&self) -> bool {
        self.under_way > 0 || !self.waiting.is_empty() || matches!(self.state, State::Loading)
    }

    /// What was assumed is so.
    pub(crate) fn confirm(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Absent) {
            State::Assumed(instance) => State::Known(instance),
            other => other,
        };
    }

    /// Puts a command that must be decided again in its place, before those that came later.
    pub(crate) fn wait_again(&mut self, job: Box<Job>) {
        let place = self.waiting.partition_point(|waiting| waiting.order < job.order);
        self.waiting.insert(place, job);
    }
}

/// Slots with a clock hand: a full cache drops what was not used since the hand last came by. Slots of streams with work
/// under way keep their index and are never dropped.
pub(crate) struct Streams {
    bytes_max: usize,
    bytes: usize,
    // Looked up by key only: its order is never seen.
    index: HashMap<StreamId, usize>,
    slots: Vec<Stream>,
    free: Vec<usize>,
    hand: usize,
}

impl Streams {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, index: HashMap::new(), slots: Vec::new(), free: Vec::new(), hand: 0 }
    }

    pub(crate) fn slot_of(&mut self, job: &Job) -> usize {
        if let Some(&slot) = self.index.get(&job.stream) {
            self.slots[slot].used = true;
            return slot;
        }
        let stream = Stream::new(job.stream.clone(), Arc::clone(&job.kind));
        self.bytes += stream.bytes;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = stream;
                slot
            }
            None => {
                self.slots.push(stream);
                self.slots.len() - 1
            }
        };
        self.index.insert(job.stream.clone(), slot);
        slot
    }

    /// Counts what is appended to a stream whose state has never been measured.
    pub(crate) fn grow(&mut self, slot: usize, bytes: usize) {
        let stream = &mut self.slots[slot];
        let is_unweighed = matches!(stream.weighed_events, 0 | UNWEIGHED_EVENTS);
        if !is_unweighed || StreamVersion::count(stream.version) > UNWEIGHED_EVENTS {
            return;
        }
        let id = if stream.weighed_events == 0 { stream.id.id.len() } else { 0 };
        stream.weighed_events = UNWEIGHED_EVENTS;
        stream.bytes += id + bytes;
        self.bytes += id + bytes;
    }

    /// Measures a state when it is new or its stream has doubled since: states rarely grow faster than their streams.
    pub(crate) fn weigh(&mut self, slot: usize) {
        let stream = &mut self.slots[slot];
        let events = StreamVersion::count(stream.version);
        let (State::Known(instance) | State::Assumed(instance)) = &stream.state else {
            return;
        };
        if stream.weighed_events > 0 && events < stream.weighed_events.saturating_mul(2) {
            return;
        }
        stream.weighed_events = events.max(1);
        self.bytes -= stream.bytes;
        stream.bytes = STREAM_OVERHEAD_BYTES + stream.id.id.len() + instance.snapshot().len();
        self.bytes += stream.bytes;
    }

    /// Drops idle streams until the rest fits, or nothing idle is left.
    pub(crate) fn shrink(&mut self) {
        // Twice around: the first pass may only take the marks away.
        let mut steps = self.slots.len() * 2;
        while self.bytes > self.bytes_max && steps > 0 {
            steps -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            let stream = &mut self.slots[self.hand];
            if stream.vacant || stream.is_busy() {
                continue;
            }
            if std::mem::take(&mut stream.used) {
                continue;
            }
            self.vacate(self.hand);
        }
    }

    /// Drops every state: what they say of the log may no longer hold.
    pub(crate) fn forget(&mut self) {
        for slot in 0..self.slots.len() {
            let stream = &mut self.slots[slot];
            if stream.vacant {
                continue;
            }
            if stream.is_busy() {
                if !matches!(stream.state, State::Loading) {
                    stream.state = State::Absent;
                }
            } else {
                self.vacate(slot);
            }
        }
    }

    fn vacate(&mut self, slot: usize) {
        let stream = &mut self.slots[slot];
        self.bytes -= stream.bytes;
        stream.vacant = true;
        stream.state = State::Absent;
        stream.waiting = VecDeque::new();
        self.index.remove(&stream.id);
        self.free.push(slot);
    }
}

impl Index<usize> for Streams {
    type Output = Stream;

    fn index(&self, slot: usize) -> &Stream {
        &self.slots[slot]
    }
}

impl IndexMut<usize> for Streams {
    fn index_mut(&mut self, slot: usize) -> &mut Stream {
        &mut self.slots[slot]
    }
}
