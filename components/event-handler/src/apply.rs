//! The apply loop of one projection: what follows on its checkpoint is folded, and rows and checkpoint change together.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use model::{FoldFailure, Folder, Position, ProjectionType, ReadModel, Recorded, RowKey};
use query_database::{Commit, CommitOutcome, Generation, Owned};
use tracing::{Instrument, Span, error, info, warn};

use crate::{
    backoff::{Backoff, jitter},
    direct::{ReadError, ReadReason},
    entry::{Entry, Source, chain_of},
    inbox::Take,
    pace::Pace,
    present::Present,
    process::Process,
    status::Slot,
    telemetry,
};

/// An apply loop. What it owns and from where it goes on is in `ownership`.
pub(crate) struct ApplyLoop {
    pub(crate) process: Arc<Process>,
    pub(crate) slot: usize,
    pub(crate) read_model: Arc<ReadModel>,
    pub(crate) folder: Box<dyn Folder>,
    /// The rows there may be; `None` for a generation that had rows when it was taken over.
    pub(crate) present: Option<Present>,
    pub(crate) owned: Owned,
    /// The position that it has to reach before it may replace the serving generation, as far as is known.
    pub(crate) serving_at: Option<Position>,
    /// Entries read from the log and not yet applied.
    pub(crate) backlog: std::vec::IntoIter<Entry>,
    /// Why the log is read, should that be needed; [`ReadReason::CatchUp`] once the generation came close to the end.
    pub(crate) reading: ReadReason,
    pub(crate) pace: Pace,
    /// Whether it is counted among those that keep up.
    is_level: bool,
    /// Whether the rows' database was told that this generation has come to the end of the log.
    pub(crate) is_filled_up: bool,
    pub(crate) reviewed: u64,
    pub(crate) backoff: Backoff,
    pub(crate) failed: Option<(Position, u32)>,
    pub(crate) held: Option<Arc<str>>,
}

/// Why a batch was not applied.
enum Trouble {
    /// An event cannot be folded.
    Fold(FoldFailure),
    /// The database failed.
    Rows(query_database::Error),
    /// Somebody else owns the generation.
    Fenced,
}

impl From<FoldFailure> for Trouble {
    fn from(failure: FoldFailure) -> Self {
        Self::Fold(failure)
    }
}

impl ApplyLoop {
    /// Takes the projection over, however long that takes; `None` when the process is to end first.
    pub(crate) async fn begin(
        process: Arc<Process>,
        slot: usize,
        projection: &Arc<dyn ProjectionType>,
    ) -> Option<Self> {
        let read_model = Arc::new(projection.read_model().clone());
        let folder = projection.folder(process.config.row_cache_bytes_max);
        let pace = Pace::new(process.config.batch_events_max);
        let nobody = Owned {
            generation: Generation(0),
            owner: query_database::OwnerToken(0),
            position: None,
            hash: model::Hash::default(),
            serving: false,
        };
        let mut apply = Self {
            process,
            slot,
            read_model,
            folder,
            present: None,
            owned: nobody,
            serving_at: None,
            backlog: Vec::new().into_iter(),
            reading: ReadReason::CatchUp,
            pace,
            is_level: false,
            is_filled_up: false,
            reviewed: 0,
            backoff: Backoff::new(),
            failed: None,
            held: None,
        };
        apply.take_over().await.then_some(apply)
    }

    pub(crate) fn owned(&self) -> &Owned {
        &self.owned
    }

    /// Whether it is filled from the log rather than kept up with it.
    pub(crate) fn is_filled(&self) -> bool {
        self.reading == ReadReason::Rebuild
    }

    /// Runs until the process ends. A commit that was begun is finished first.
    pub(crate) async fn run(mut self) {
        while !self.process.shutdown.is_requested() {
            let Some(entries) = self.next().await else { continue };
            self.apply(entries).await;
        }
    }

    /// What follows on the checkpoint; `None` where there is something else to do first.
    async fn next(&mut self) -> Option<Vec<Entry>> {
        if self.backlog.len() > 0 {
            return Some(self.backlog.by_ref().take(self.pace.events_max()).collect());
        }
        let process = self.process.clone();
        let mut changed = pin!(process.inbox.changed());
        changed.as_mut().enable();
        match process.inbox.take(self.owned.position, self.pace.events_max(), self.reviewed) {
            Take::Entries(entries) => Some(entries),
            Take::Behind => {
                self.read_log().await;
                None
            }
            Take::Review(number) => {
                self.reviewed = number;
                self.backlog = Vec::new().into_iter();
                self.compare_with_log().await;
                None
            }
            Take::Nothing => {
                self.level().await;
                tokio::select! {
                    biased;
                    () = process.shutdown.requested() => {}
                    () = changed => {}
                }
                None
            }
        }
    }

    /// Everything that was received is applied.
    async fn level(&mut self) {
        self.reading = ReadReason::CatchUp;
        self.pace.level();
        self.keeps_up(true);
        if !std::mem::replace(&mut self.is_filled_up, true) {
            self.process.rows.filled(self.owned.generation);
        }
        if !self.owned.serving && self.owned.position >= self.serving_at {
            self.try_to_serve().await;
        }
    }

    /// Notes whether it keeps up with the log, or is filled from it, for those who are filled beside it.
    fn keeps_up(&mut self, now: bool) {
        if std::mem::replace(&mut self.is_level, now) != now {
            let level = &self.process.level;
            if now {
                level.fetch_add(1, Ordering::Relaxed)
            } else {
                level.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }

    async fn read_log(&mut self) {
        match self.process.log.read(self.owned.position, self.owned.hash, self.reading).await {
            Ok(entries) => {
                self.backoff.reset();
                self.pace.filling();
                self.keeps_up(false);
                self.read_ahead(entries.last());
                self.backlog = entries.into_iter();
            }
            Err(error @ ReadError::Fork { .. }) => {
                error!(projection.name = self.read_model.name, error = %chain_of(&error), "the log does not follow on a checkpoint");
                self.look_for_a_fork().await;
            }
            Err(error @ ReadError::Log(_)) => {
                warn!(projection.name = self.read_model.name, error = %chain_of(&error), "the log cannot be read; trying again");
                self.pause().await;
            }
        }
    }

    /// Reads and decodes the next part while this one is folded.
    fn read_ahead(&self, last: Option<&Entry>) {
        let Some((position, hash)) = last.map(|last| (last.position, last.hash)) else { return };
        if self.process.inbox.end().is_none_or(|end| position >= end) {
            return;
        }
        let (process, reading) = (self.process.clone(), self.reading);
        drop(self.process.runtime.spawn("event-handler read-ahead", async move {
            process.log.prefetch(Some(position), hash, reading, &process.registry).await;
        }));
    }

    async fn apply(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        // The one rule: position and hash follow on the checkpoint, in the epoch that is known, or nothing is applied.
        let follows = first.position == Position::after(self.owned.position) && first.previous == self.owned.hash;
        if !follows || !self.knows_the_epoch_of(&entries) {
            return self.look_for_a_fork().await;
        }
        let registry = &self.process.registry;
        if let Err(reason) = first.event(registry) {
            let failure = FoldFailure { position: first.position, key: None, reason: reason.to_string() };
            // What was taken with it does not follow on the checkpoint: all is taken again.
            self.backlog = Vec::new().into_iter();
            return self.cannot_fold(failure).await;
        }
        let readable = entries.iter().map_while(|entry| entry.event(registry).ok());
        let events: Vec<Arc<Recorded>> = readable.cloned().collect();
        let mut count = events.len();
        loop {
            let began = self.process.runtime.now();
            match self.attempt(&events[..count]).await {
                Ok(()) => {
                    let took = self.process.runtime.now().saturating_sub(began);
                    self.pace.took(count, took, self.process.fill_commit_target());
                    return self.applied(&entries[..count], count < entries.len()).await;
                }
                // What comes before the event that cannot be folded is not kept waiting by it.
                Err(Trouble::Fold(failure)) if failure.position > events[0].position => {
                    self.folder.rollback();
                    count = events.iter().take_while(|event| event.position < failure.position).count();
                }
                Err(trouble) => return self.stumble(trouble).await,
            }
        }
    }

    /// One transaction: all of `events`, or nothing.
    async fn attempt(&mut self, events: &[Arc<Recorded>]) -> Result<(), Trouble> {
        let wanted = self.folder.plan(events)?;
        if !wanted.is_empty() {
            self.supply(wanted).await?;
        }
        let rows = self.folder.fold(events)?;
        if let Some(present) = &mut self.present {
            // Before they are stored: whether they were may stay unknown.
            rows.iter().for_each(|row| present.insert(&row.key));
        }
        let Some(last) = events.last() else { return Ok(()) };
        let commit = Commit {
            generation: self.owned.generation,
            owner: self.owned.owner,
            from: self.owned.position,
            to: last.position,
            hash: last.hash,
            rows,
            lineage: self.board().lineage(),
            head: self.process.board.seen.lock().for_commit(Some(last.position), self.process.runtime.now()),
        };
        let span = self.hops(events);
        let stored = span.in_scope(|| self.process.rows.commit(commit)).instrument(span.clone());
        match stored.await.map_err(Trouble::Rows)? {
            CommitOutcome::Stored => {
                self.folder.commit();
                (self.owned.position, self.owned.hash) = (Some(last.position), last.hash);
                Ok(())
            }
            CommitOutcome::Fenced => Err(Trouble::Fenced),
        }
    }

    /// Gives the folder the rows that it has not in memory.
    async fn supply(&mut self, wanted: Vec<RowKey>) -> Result<(), Trouble> {
        let may_be = |key: &RowKey| self.present.as_ref().is_none_or(|present| present.may_have(key));
        let there: Vec<bool> = wanted.iter().map(may_be).collect();
        let keys: Vec<RowKey> =
            wanted.into_iter().zip(&there).filter_map(|(key, there)| there.then_some(key)).collect();
        let rows = if keys.is_empty() {
            Vec::new()
        } else {
            self.process.rows.rows(self.owned.generation, keys).await.map_err(Trouble::Rows)?
        };
        let mut rows = rows.into_iter();
        for there in there {
            let row = if there { rows.next().flatten() } else { None };
            // Rows are stored from text; one that is none does not parse either, and is reported as such.
            let text = row.as_deref().map(String::from_utf8_lossy);
            self.folder.supply(text.as_deref())?;
        }
        Ok(())
    }

    /// A span for each event when hops are watched; the last one's, in which the commit is made.
    fn hops(&self, events: &[Arc<Recorded>]) -> Span {
        if !telemetry::hops_are_watched() {
            return Span::none();
        }
        let mut last = Span::none();
        for event in events {
            last = telemetry::hop(event, &self.read_model.name);
        }
        last
    }

    async fn applied(&mut self, entries: &[Entry], cut_short: bool) {
        if cut_short {
            // The rest is taken again, from the event that could not be folded on.
            self.backlog = Vec::new().into_iter();
        }
        self.backoff.reset();
        self.failed = None;
        let from_queue = entries.iter().filter(|entry| entry.source == Source::Queue).count() as u64;
        if let Some(last) = entries.last() {
            let now = self.process.runtime.now();
            self.board().applied(last.position, from_queue, entries.len() as u64 - from_queue, now);
        }
        if self.held.is_some() {
            self.hold(None).await;
        }
        if !self.owned.serving && self.owned.position >= self.serving_at {
            self.try_to_serve().await;
        }
    }

    async fn stumble(&mut self, trouble: Trouble) {
        self.folder.rollback();
        self.backlog = Vec::new().into_iter();
        let projection = &self.read_model.name;
        match trouble {
            Trouble::Fold(failure) => self.cannot_fold(failure).await,
            Trouble::Rows(error @ query_database::Error::Corrupt { .. }) => {
                let failure =
                    FoldFailure { position: Position::after(self.owned.position), key: None, reason: chain_of(&error) };
                self.cannot_fold(failure).await;
            }
            Trouble::Rows(error) => {
                warn!(projection.name = projection, error = %chain_of(&error), "a batch was not stored; trying again");
                self.pause().await;
                // Whether it was stored may be unknown: the database is asked, and a late commit finds itself fenced.
                self.take_over().await;
            }
            Trouble::Fenced => {
                warn!(projection.name = projection, generation = %self.owned.generation, "another owner took over; stepping down");
                self.board().disowned();
                let pause = self.process.config.fenced_pause;
                let pause = pause + jitter(&self.process.runtime, pause);
                self.process.pause(pause).await;
                self.stand_by().await;
                self.take_over().await;
            }
        }
    }

    /// Tries the same event a few times, then holds the projection, and goes on trying now and then. Never skips it.
    async fn cannot_fold(&mut self, failure: FoldFailure) {
        let attempts = match self.failed {
            Some((position, attempts)) if position == failure.position => attempts + 1,
            _ => 1,
        };
        self.failed = Some((failure.position, attempts));
        if attempts < self.process.config.fold_attempts_max {
            self.pause().await;
            return;
        }
        let reason = Arc::from(failure.to_string());
        if self.held.as_ref() != Some(&reason) {
            self.hold(Some(reason)).await;
        }
        let pause = self.process.config.hold_retry;
        let pause = pause - pause / 10 + jitter(&self.process.runtime, pause / 5);
        self.process.pause(pause).await;
    }

    async fn hold(&mut self, reason: Option<Arc<str>>) {
        let projection = &self.read_model.name;
        match &reason {
            Some(reason) => {
                error!(projection.name = projection, reason = %reason, "projection is held; it is tried again now and then")
            }
            None => info!(projection.name = projection, "projection is no longer held"),
        }
        let text = reason.as_deref().map(str::to_owned);
        match self.process.rows.hold(self.owned.generation, self.owned.owner, text).await {
            Ok(CommitOutcome::Stored) => {
                self.board().held(reason.clone());
                self.held = reason;
            }
            // The next commit finds out, and this is tried again with it.
            Ok(CommitOutcome::Fenced) => self.board().held(reason),
            Err(error) => {
                self.board().held(reason);
                warn!(projection.name = projection, error = %chain_of(&error), "that it is held could not be stored");
            }
        }
    }

    pub(crate) async fn pause(&mut self) -> bool {
        let pause = self.backoff.pause(&self.process.runtime);
        self.process.pause(pause).await
    }

    pub(crate) fn board(&self) -> &Slot {
        &self.process.board.slots[self.slot]
    }
}
