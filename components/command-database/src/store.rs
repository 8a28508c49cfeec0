use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::{CommandId, EpochId, Hash, Lineage, Metadata, NewEvent, Position, StoredEvent, StreamId, StreamVersion};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, batch::Groups};

/// What one command wants written: its events, or the refusal that its idempotency key is to remember.
#[derive(Clone, Debug)]
pub struct Append {
    /// The aggregate's stream.
    pub stream: StreamId,
    /// What the decision was made on.
    pub expected: ExpectedVersion,
    /// The command.
    pub command_id: CommandId,
    /// What it came to.
    pub decision: Decision,
    /// Who, when, why: the same for all its events.
    pub metadata: Metadata,
    /// The client's key, if it sent one.
    pub idempotency: Option<Idempotency>,
}

impl Append {
    /// The events it wants written; none for a refusal.
    #[must_use]
    pub fn events(&self) -> &[NewEvent] {
        match &self.decision {
            Decision::Accepted(events) => events,
            Decision::Refused(_) => &[],
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Accepted, with these events; none is accepted too.
    Accepted(Vec<NewEvent>),
    /// Refused by the domain. The bytes are stored under the key as they are, and say nothing to the store.
    Refused(Bytes),
}

/// The version of the stream that a decision was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Whatever it is.
    Any,
    /// The stream does not exist.
    NoStream,
    /// Exactly this one.
    Exactly(StreamVersion),
}

impl ExpectedVersion {
    /// Exactly `version`, or no stream where there is none.
    #[must_use]
    pub fn of(version: Option<StreamVersion>) -> Self {
        version.map_or(Self::NoStream, Self::Exactly)
    }

    /// Whether a stream of version `current` is as expected.
    #[must_use]
    pub fn accepts(self, current: Option<StreamVersion>) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => current.is_none(),
            Self::Exactly(version) => current == Some(version),
        }
    }
}

/// A client's idempotency key in its scope, and what was sent under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// Digest of tenant, principal, method, path and the client's key.
    pub key: Hash,
    /// Digest of method, path and body: the same key with another one is refused.
    pub fingerprint: Hash,
}

/// What is remembered under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Of the command that came first.
    pub fingerprint: Hash,
    /// That command.
    pub command_id: CommandId,
    /// What it came to.
    pub decision: StoredDecision,
}

/// What a command came to, as its idempotency record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredDecision {
    /// Accepted.
    Accepted {
        /// Position of its first event; `None` where it made none.
        first: Option<Position>,
        /// How many events it made.
        events: u32,
        /// The stream's version after it; `None` where there is no stream even then.
        version: Option<StreamVersion>,
        /// Head of the log after it: the prefix that contains what the decision saw and did.
        head: Option<Position>,
    },
    /// Refused, with the bytes of [`Decision::Refused`].
    Refused(Bytes),
}

/// What became of one [`Append`] of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable.
    Committed {
        /// Position of its first event; `None` where it made none.
        first: Option<Position>,
        /// The stream's version after it.
        version: Option<StreamVersion>,
        /// Head of the log right after it.
        head: Option<Position>,
        /// The epoch it was written in.
        epoch: EpochId,
    },
    /// Nothing written: the stream is not at the expected version.
    VersionConflict {
        /// Where it is.
        current: Option<StreamVersion>,
    },
    /// Nothing written: the key was used before for the same request, and this is what came of it.
    Replayed(IdempotencyRecord),
    /// Nothing written: the key was used before for another request.
    KeyReused,
}

/// Bounds of one read. At least one event is returned where there is one.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Most events.
    pub events_max: usize,
    /// Bytes of payload after which no further event is added.
    pub bytes_max: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { events_max: 1024, bytes_max: 4 * 1024 * 1024 }
    }
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last position; `None` while the log is empty.
    pub position: Option<Position>,
    /// Its hash; all zero while the log is empty.
    pub hash: Hash,
    /// The present epoch.
    pub epoch: EpochId,
}

/// A request to load a stream.
#[derive(Clone, Debug)]
pub struct Load {
    /// Which.
    pub stream: StreamId,
    /// Shape of the state that a snapshot would have to have; another one is not returned.
    pub state_shape: Hash,
}

/// A stream as far as one read goes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The latest snapshot of the wanted shape.
    pub snapshot: Option<Snapshot>,
    /// The events after the snapshot, oldest first, up to the read's limit. Where there are more, `read_stream` goes on.
    pub events: Vec<StoredEvent>,
    /// The stream's version; `None` where there is no stream.
    pub version: Option<StreamVersion>,
}

/// An aggregate's state at one version. A hint: it may be lost at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose.
    pub stream: StreamId,
    /// The state after the event of this version.
    pub version: StreamVersion,
    /// Shape of the state.
    pub state_shape: Hash,
    /// JSON text.
    pub state: Bytes,
}

/// The right to run the relay, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayLease {
    /// Counts the holders; a former holder's cursor is refused by it.
    pub token: u64,
    /// How far the queue has everything; `None` where nothing was relayed.
    pub cursor: Option<Position>,
}

/// The append-only log of all events, and what belongs in the same transaction as they do.
///
/// # Invariants
/// Positions are dense from 1 and in commit order; versions are dense from 1 in each stream. A reader that has seen position
/// `p` has missed nothing below it and never sees it change.
pub trait EventStore: Send + Sync + 'static {
    /// Appends a batch in one durable commit: of each command all events and its idempotency record, or nothing.
    ///
    /// Returns an outcome for each command, in order; once it returns, what is [`Outcome::Committed`] survives a power cut.
    /// A later command of the batch sees what an earlier one of the batch wrote. Idempotency keys are looked up before
    /// versions are compared. A command of which nothing is written does not disturb its neighbours, but where it has events,
    /// those after it that expect a version of its stream conflict too, whatever the version is: they may have been decided
    /// on these events, and another process's may have got their versions.
    ///
    /// # Errors
    /// [`Error::Commit`]: nothing is known until recovery. After any other error nothing was written.
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Result<Vec<Outcome>, Error>>;

    /// Commits what waits, group after group as [`EventStore::append`] commits a batch, until none is left.
    ///
    /// A store with a thread of its own for writing forms each group there, at the moment it can begin with it: nothing that
    /// has arrived by then waits for one commit more.
    fn commit_groups(&self, groups: Groups) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while let Some(mut group) = groups.next() {
                let result = self.append(group.take()).await;
                group.answer(result);
            }
        })
    }

    /// Commits what little waits before it returns, where that is quicker than to have a task for it; `false` where it is not,
    /// and then [`EventStore::commit_groups`] has to be called.
    fn commit_at_once(&self, _groups: &Groups) -> bool {
        false
    }

    /// The events after `after`, oldest first; empty at the head. A committed event is returned from its commit on. They are
    /// shared: the end of the log, which several follow, may be kept in memory.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when an event does not fit its checksum or a position is missing.
    fn read(&self, after: Option<Position>, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Arc<StoredEvent>>, Error>>;

    /// Loads several streams at one go, each with its latest snapshot.
    ///
    /// # Errors
    /// As [`EventStore::read`].
    fn load(&self, streams: Vec<Load>, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Loaded>, Error>>;

    /// The events of one stream after version `after`, oldest first.
    ///
    /// # Errors
    /// As [`EventStore::read`].
    fn read_stream(
        &self,
        stream: StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, Error>>;

    /// The end of the log, from the store itself and not from anybody's memory.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn head(&self) -> BoxFuture<'_, Result<Head, Error>>;

    /// All epochs of the log.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn lineage(&self) -> BoxFuture<'_, Result<Lineage, Error>>;

    /// What is remembered under an idempotency key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn idempotency(&self, key: Hash) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Error>>;

    /// Keeps a snapshot, in place of an older one of its stream.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is lost by it.
    fn save_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), Error>>;

    /// Takes or renews the right to relay for `ttl` of this store's elapsed time; `None` while another holder has it.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn lease_relay(&self, holder: Uuid, ttl: Duration) -> BoxFuture<'_, Result<Option<RelayLease>, Error>>;

    /// Moves the relay's cursor; `false` when `token` is no longer that of the holder. Safe to call rarely: what lies
    /// between the stored and the true cursor is published again, and dropped by whoever has it.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn store_relay_cursor(&self, token: u64, cursor: Position) -> BoxFuture<'_, Result<bool, Error>>;

    /// Forgets idempotency records older than `keep` of elapsed time in which this log was open. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn expire_idempotency(&self, keep: Duration) -> BoxFuture<'_, Result<u64, Error>>;

    /// Wall-clock reading for people: when the last event was recorded.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>>;
}
