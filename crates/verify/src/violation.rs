use jiff::Timestamp;
use model::{CommandId, Hash, IndexValue};
use serde::Serialize;

/// Something that is not as the system leaves it, with its place and what was seen there.
///
/// Numbers are as stored, since a damaged one may be none that a [`Position`](model::Position) could hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Violation {
    /// The list of epochs contradicts itself or the log.
    #[error("lineage: {found}")]
    Lineage {
        /// What is wrong.
        found: String,
    },
    /// Positions between two events, or before the first, have no event.
    #[error("log: positions {first} to {last} are missing")]
    PositionsMissing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// An event stands where none can.
    #[error("log: an event stands at {position}, positions count from 1")]
    PositionImpossible {
        /// Where.
        position: i64,
    },
    /// A part of the file cannot be read.
    #[error("log: cannot be read after position {after}: {found}")]
    LogUnreadable {
        /// The last position that could be.
        after: i64,
        /// What the engine said.
        found: String,
    },
    /// An event's columns cannot be those that were written.
    #[error("log: the event at {position} cannot be read: {found}")]
    EventUnreadable {
        /// Where.
        position: i64,
        /// What is wrong with it.
        found: String,
    },
    /// An event's columns are not those that its checksum was taken over.
    #[error("log: the event at {position} ({event_type} of {stream}) does not fit its checksum")]
    EventChecksum {
        /// Where.
        position: u64,
        /// Its stream.
        stream: String,
        /// Its type.
        event_type: String,
    },
    /// An event's hash is not that of its content after the event before it.
    #[error(
        "log: the hash chain breaks at {position} ({event_type} of {stream}): stored {stored}, computed {computed}"
    )]
    HashChain {
        /// Where.
        position: u64,
        /// Its stream.
        stream: String,
        /// Its type.
        event_type: String,
        /// What is stored.
        stored: Hash,
        /// What should be.
        computed: Hash,
    },
    /// What is kept of the log's end is not where its events end: some were cut off, or it was changed.
    #[error("log: its end is kept as {kept} with hash {kept_hash}, its events end at {head}{}", with(.hash.as_ref()))]
    Head {
        /// The last position, as kept.
        kept: i64,
        /// Its hash, as kept.
        kept_hash: Hash,
        /// The last event's position; 0 where there is none.
        head: u64,
        /// Its hash, where it is known.
        hash: Option<Hash>,
    },
    /// Time runs backward between two positions.
    #[error("log: the event at {position} was recorded at {recorded_at}, the one before it at {previous}")]
    RecordedBefore {
        /// Where.
        position: u64,
        /// When.
        recorded_at: Timestamp,
        /// When the one before was.
        previous: Timestamp,
    },
    /// A stream's versions have a gap or a repetition.
    #[error("log: the event at {position} is version {found} of {stream}, version {expected} comes next")]
    Version {
        /// Where.
        position: u64,
        /// Which stream.
        stream: String,
        /// What comes after the version before.
        expected: u64,
        /// What is stored.
        found: u64,
    },
    /// An event does not point at its stream's event before.
    #[error("log: the event at {position} of {stream} points back to {found:?}, its predecessor is at {expected:?}")]
    PreviousLink {
        /// Where.
        position: u64,
        /// Which stream.
        stream: String,
        /// Where the predecessor is; nothing for a first event.
        expected: Option<u64>,
        /// What is stored.
        found: Option<i64>,
    },
    /// A command's events are not together, or not as many as it made.
    #[error("log: command {command} made {declared} events, {found} of them stand together before position {position}")]
    CommandIncomplete {
        /// Which.
        command: CommandId,
        /// The first position that is not its own any more.
        position: u64,
        /// How many events each of its events says that it made.
        declared: u32,
        /// How many there are.
        found: u32,
    },
    /// The table of streams contradicts the events.
    #[error(
        "streams: {stream} is kept as version {version} at position {position}, \
         its events end with version {version_in_log} at position {position_in_log}"
    )]
    Stream {
        /// Which.
        stream: String,
        /// As kept.
        version: i64,
        /// As kept.
        position: i64,
        /// As the events say; 0 where there are none.
        version_in_log: u64,
        /// As the events say; 0 where there are none.
        position_in_log: u64,
    },
    /// A mark into the middle of a long stream is not where its event is.
    #[error(
        "streams: the mark of version {version} of stream number {stream} is {found:?}, its event is at {expected:?}"
    )]
    StreamMark {
        /// The stream's number.
        stream: i64,
        /// Of which event.
        version: i64,
        /// Where the event is; nothing where no such event gets a mark.
        expected: Option<u64>,
        /// What is stored; nothing where there is no mark.
        found: Option<i64>,
    },
    /// Names or numbers beside the events cannot be read.
    #[error("log: {table} cannot be read: {found}")]
    TableUnreadable {
        /// Which table.
        table: &'static str,
        /// What the engine said.
        found: String,
    },
    /// What is remembered under an idempotency key is not what was written, or not what the log has.
    #[error("idempotency: the record of key {key}: {found}")]
    IdempotencyRecord {
        /// The key.
        key: String,
        /// What is wrong.
        found: String,
    },
    /// A snapshot is not the state of its stream.
    #[error("snapshots: {stream} at version {version}: {found}")]
    Snapshot {
        /// Whose.
        stream: String,
        /// Of which version.
        version: i64,
        /// What is wrong.
        found: String,
    },
    /// This binary does not know the event's type: it can judge no row that depends on it.
    #[error("log: the event at {position} is of type {event_type}, which this binary does not know")]
    UnknownEvent {
        /// Where.
        position: u64,
        /// Its type.
        event_type: String,
    },
    /// The event's content is not of the shape that this binary has for its type.
    #[error("log: the event at {position} of type {event_type} cannot be decoded: {found}")]
    Payload {
        /// Where.
        position: u64,
        /// Its type.
        event_type: String,
        /// What is wrong.
        found: String,
    },
    /// A generation cannot be read, or is not described as it was made.
    #[error("{read_model}, generation {generation}: {found}")]
    Generation {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// What is wrong.
        found: String,
    },
    /// A checkpoint is ahead of the log.
    #[error("{read_model}, generation {generation}: its checkpoint is {checkpoint}, the log ends at {head}")]
    CheckpointBeyondHead {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Its checkpoint.
        checkpoint: u64,
        /// The log's last position.
        head: u64,
    },
    /// A checkpoint is not where its hash says.
    #[error(
        "{read_model}, generation {generation}: its checkpoint is {checkpoint} with hash {stored}, there the log has {log}{}",
        belongs(*.belongs_to)
    )]
    CheckpointHash {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Its checkpoint; 0 where it has none.
        checkpoint: u64,
        /// The hash beside the checkpoint.
        stored: Hash,
        /// The log's.
        log: Hash,
        /// The position whose hash it is, where there is one: the checkpoint was moved.
        belongs_to: Option<u64>,
    },
    /// A checkpoint lies in another life of the log.
    #[error(
        "{read_model}, generation {generation}: its checkpoint {checkpoint} lies in another epoch than the log has there"
    )]
    CheckpointEpoch {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Its checkpoint.
        checkpoint: u64,
    },
    /// A row's columns cannot be those that were written.
    #[error("{read_model}, generation {generation}: row {key:?} cannot be read: {found}")]
    RowUnreadable {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row, with its tenant where that is not the default.
        key: String,
        /// What is wrong.
        found: String,
    },
    /// A row is not what its checksum was taken over.
    #[error("{read_model}, generation {generation}: row {key:?} does not fit its checksum {checksum:#018x}")]
    RowChecksum {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row.
        key: String,
        /// What is stored.
        checksum: i64,
    },
    /// An index column is not what the row says.
    #[error(
        "{read_model}, generation {generation}: row {key:?} has {stored:?} in the index column of {field}, its body says {expected:?}"
    )]
    IndexColumn {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row.
        key: String,
        /// The indexed field.
        field: String,
        /// What is stored.
        stored: IndexValue,
        /// What the body says.
        expected: IndexValue,
    },
    /// The fold makes a row that is not stored.
    #[error("{read_model}, generation {generation}: row {key:?} is missing, the fold has it since position {position}")]
    RowMissing {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row.
        key: String,
        /// The event that it was last touched by.
        position: u64,
    },
    /// A row is stored that the fold does not make.
    #[error(
        "{read_model}, generation {generation}: row {key:?} is stored with position {position}, the fold has no such row"
    )]
    RowExtra {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row.
        key: String,
        /// As stored.
        position: u64,
    },
    /// A row's body is not what the fold makes.
    #[error(
        "{read_model}, generation {generation}: row {key:?} has a body of digest {stored}, the fold makes {folded} \
         (last touched at {position})"
    )]
    RowBody {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row.
        key: String,
        /// First half of the SHA-256 of the stored body, in hexadecimal.
        stored: String,
        /// The same of the folded one.
        folded: String,
        /// By the fold.
        position: u64,
    },
    /// A row says another last event than the fold.
    #[error(
        "{read_model}, generation {generation}: row {key:?} says position {stored}, the fold touches it last at {folded}"
    )]
    RowPosition {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row.
        key: String,
        /// As stored.
        stored: u64,
        /// By the fold.
        folded: u64,
    },
    /// Index columns are not those of the fold.
    #[error("{read_model}, generation {generation}: row {key:?} has other index columns than the fold makes")]
    RowIndexes {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// Which row.
        key: String,
    },
    /// The projection cannot fold an event that its rows are said to contain.
    #[error("{read_model}, generation {generation}: the fold fails at {position}: {found}")]
    FoldFailed {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// The event.
        position: u64,
        /// The projection's words.
        found: String,
    },
    /// The rows were not compared with the fold.
    #[error(
        "{read_model}, generation {generation}: its rows cannot be judged, since the log cannot from position {position} on"
    )]
    NotJudged {
        /// Which read model.
        read_model: String,
        /// Which generation.
        generation: u64,
        /// The first event that could not be folded.
        position: u64,
    },
}

fn with(hash: Option<&Hash>) -> String {
    hash.map_or_else(String::new, |hash| format!(" with hash {hash}"))
}

fn belongs(position: Option<u64>) -> String {
    position.map_or_else(String::new, |position| format!("; it is the hash of position {position}"))
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    RestoreLog,
    NewerBinary,
    Rebuild,
    DropHint,
    ForgetKeys,
}

impl Remedy {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::RestoreLog => {
                "the log is the only source of truth: stop the system, keep a copy of its files or its database as it is, and \
                 restore the log from a backup that verifies"
            }
            Self::NewerBinary => {
                "this binary is not the one that wrote the log: verify with the application's newest binary"
            }
            Self::Rebuild => {
                "rows can be made anew from the log: stop the system, remove rows.sqlite3, rows.sqlite3-wal and \
                 rows.sqlite3-shm in the data directory, and start it again; on PostgreSQL, stop the event handlers, drop the \
                 schema diptych_rows of the Query Database, run `migrate`, and start them again"
            }
            Self::DropHint => {
                "nothing is lost: the snapshot is a hint and can be deleted, its stream is then read whole"
            }
            Self::ForgetKeys => {
                "a request that is sent again under this key is answered with an error: let its client choose a new key"
            }
        }
    }
}

impl Violation {
    /// Its kind, as JSON spells it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lineage { .. } => "lineage",
            Self::PositionsMissing { .. } => "positions_missing",
            Self::PositionImpossible { .. } => "position_impossible",
            Self::LogUnreadable { .. } => "log_unreadable",
            Self::EventUnreadable { .. } => "event_unreadable",
            Self::EventChecksum { .. } => "event_checksum",
            Self::HashChain { .. } => "hash_chain",
            Self::Head { .. } => "head",
            Self::RecordedBefore { .. } => "recorded_before",
            Self::Version { .. } => "version",
            Self::PreviousLink { .. } => "previous_link",
            Self::CommandIncomplete { .. } => "command_incomplete",
            Self::Stream { .. } => "stream",
            Self::StreamMark { .. } => "stream_mark",
            Self::TableUnreadable { .. } => "table_unreadable",
            Self::IdempotencyRecord { .. } => "idempotency_record",
            Self::Snapshot { .. } => "snapshot",
            Self::UnknownEvent { .. } => "unknown_event",
            Self::Payload { .. } => "payload",
            Self::Generation { .. } => "generation",
            Self::CheckpointBeyondHead { .. } => "checkpoint_beyond_head",
            Self::CheckpointHash { .. } => "checkpoint_hash",
            Self::CheckpointEpoch { .. } => "checkpoint_epoch",
            Self::RowUnreadable { .. } => "row_unreadable",
            Self::RowChecksum { .. } => "row_checksum",
            Self::IndexColumn { .. } => "index_column",
            Self::RowMissing { .. } => "row_missing",
            Self::RowExtra { .. } => "row_extra",
            Self::RowBody { .. } => "row_body",
            Self::RowPosition { .. } => "row_position",
            Self::RowIndexes { .. } => "row_indexes",
            Self::FoldFailed { .. } => "fold_failed",
            Self::NotJudged { .. } => "not_judged",
        }
    }

    /// Whether it says that something could not be judged, rather than that something is wrong.
    #[must_use]
    pub fn is_unjudged(&self) -> bool {
        matches!(self, Self::UnknownEvent { .. } | Self::NotJudged { .. })
    }

    pub(crate) fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Lineage { .. }
            | Self::PositionsMissing { .. }
            | Self::PositionImpossible { .. }
            | Self::LogUnreadable { .. }
            | Self::EventUnreadable { .. }
            | Self::EventChecksum { .. }
            | Self::HashChain { .. }
            | Self::Head { .. }
            | Self::RecordedBefore { .. }
            | Self::Version { .. }
            | Self::PreviousLink { .. }
            | Self::CommandIncomplete { .. }
            | Self::Stream { .. }
            | Self::StreamMark { .. }
            | Self::TableUnreadable { .. } => Some(Remedy::RestoreLog),
            Self::UnknownEvent { .. } | Self::Payload { .. } => Some(Remedy::NewerBinary),
            Self::IdempotencyRecord { .. } => Some(Remedy::ForgetKeys),
            Self::Snapshot { .. } => Some(Remedy::DropHint),
            // Follows from another one, which says what to do.
            Self::NotJudged { .. } => None,
            _ => Some(Remedy::Rebuild),
        }
    }
}
