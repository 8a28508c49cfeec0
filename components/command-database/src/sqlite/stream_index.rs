//! The index of streams, which follows the log at a distance (ADR 0011).
//!
//! Where a stream stands is told by its events. `streams` tells it without looking for them, but a row of it is of no use
//! between two events of its stream: written with each commit it would cost more than the event. So it is written later, many
//! streams at a time, in the order of their names: those that it lags behind on are here until then, and are found again
//! after a crash by the events that follow on the index's position.

use foldhash::{HashMap, HashMapExt};
use model::{Position, StreamId, StreamVersion};
use rusqlite::{Connection, params};

use super::{
    failure::{Failure, Result},
    names::{KnownNames, NamesByNumber},
    row::number,
};

/// So many streams are worth a round.
const STREAMS_MAX: usize = 4096;
/// So many events since the last round began are, whatever streams they are of: a crash makes them be read.
const EVENTS_MAX: u64 = 65_536;
/// Streams of one transaction: appends get in between. More where so many lag behind that rounds would not keep up.
const STEP_STREAMS: usize = 256;
const STEPS_MAX: usize = 16;

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) number: i64,
    pub(super) version: StreamVersion,
    pub(super) last: Position,
}

/// The streams that the index lags behind on, as they are committed.
pub(super) struct StreamIndex {
    /// Looked up by name only: their order is never seen.
    behind: HashMap<StreamId, Stream>,
    /// The index has what came up to here.
    position: Option<Position>,
    round: Option<Round>,
}

/// One round of writing.
struct Round {
    /// What the index has once it has ended.
    position: Option<Position>,
    /// The greatest number of a stream then.
    streams: i64,
    /// Those still to write, the last first.
    rest: Vec<StreamId>,
}

impl StreamIndex {
    /// Finds out what the index lacks.
    pub(super) fn recover(connection: &Connection, head: Option<Position>) -> Result<Self> {
        let position: i64 = connection.query_row("SELECT position FROM stream_index", [], |row| row.get(0))?;
        let position = Position::new(position.cast_unsigned());
        if position > head {
            let found = format!("the index of streams is at {}", Position::count(position));
            return Err(Failure::corrupt(Position::count(head), found));
        }
        let mut behind = HashMap::new();
        let mut known = KnownNames::default();
        let mut names = NamesByNumber { connection, known: &mut known };
        let mut statement = connection
            .prepare_cached("SELECT stream, version, position FROM events WHERE position > ?1 ORDER BY position")?;
        let mut rows = statement.query([number(Position::count(position))])?;
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(2)?;
            let damaged = |found: &str| Failure::corrupt(at.cast_unsigned(), found);
            let stream = Stream {
                number: row.get(0)?,
                version: StreamVersion::new(row.get::<_, i64>(1)?.cast_unsigned())
                    .ok_or_else(|| damaged("its version is none"))?,
                last: Position::new(at.cast_unsigned()).ok_or_else(|| damaged("its position is none"))?,
            };
            let id = names.stream(stream.number)?.ok_or_else(|| damaged("its stream is unknown"))?;
            behind.insert(id, stream);
        }
        Ok(Self { behind, position, round: None })
    }

    /// Where a stream stands that the index lags behind on.
    pub(super) fn find(&self, id: &StreamId) -> Option<Stream> {
        self.behind.get(id).copied()
    }

    /// These have moved on, and that is committed.
    pub(super) fn moved(&mut self, streams: impl IntoIterator<Item = (StreamId, Stream)>) {
        self.behind.extend(streams);
    }

    /// Whether it is time to write, with the log's end at `head`.
    pub(super) fn is_due(&self, head: Option<Position>) -> bool {
        let events = Position::count(head) - Position::count(self.position).min(Position::count(head));
        self.round.is_some() || self.behind.len() >= STREAMS_MAX || events >= EVENTS_MAX
    }

    /// Whether the index lacks anything.
    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// What to write next, within a transaction that sees all that is committed: the log's end is `head`, and `streams` the
    /// greatest number of a stream.
    pub(super) fn step(&mut self, head: Option<Position>, streams: i64) -> Step {
        let behind = &self.behind;
        let round = self.round.get_or_insert_with(|| {
            #[allow(clippy::disallowed_methods, reason = "sorted at once")]
            let mut rest: Vec<StreamId> = behind.keys().cloned().collect();
            rest.sort_unstable_by(|one, other| other.cmp(one));
            Round { position: head, streams, rest }
        });
        let count = STEP_STREAMS.max(behind.len() / STEPS_MAX).min(round.rest.len());
        let names = round.rest.split_off(round.rest.len() - count);
        let streams = names.into_iter().rev().filter_map(|id| behind.get(&id).map(|stream| (id.clone(), *stream)));
        Step {
            streams: streams.collect(),
            end: round.rest.is_empty().then_some((Position::count(round.position), round.streams)),
        }
    }

    /// The step is committed. Gives the streams that the index has now.
    pub(super) fn stepped(&mut self, step: Step) -> Vec<(StreamId, Stream)> {
        for (id, _) in &step.streams {
            self.behind.remove(id);
        }
        if step.end.is_some()
            && let Some(round) = self.round.take()
        {
            self.position = round.position;
        }
        step.streams
    }

    /// Not committed: the round begins anew.
    pub(super) fn give_up(&mut self) {
        self.round = None;
    }
}

/// A part of a round.
pub(super) struct Step {
    streams: Vec<(StreamId, Stream)>,
    /// With the last part: the index's position from now on, and the greatest number that a stream had when it was reached.
    end: Option<(u64, i64)>,
}

impl Step {
    /// Writes it, within a transaction. `category` gives the number of a stream's category.
    pub(super) fn write(
        &self,
        connection: &Connection,
        mut category: impl FnMut(&StreamId) -> Result<Option<i64>>,
    ) -> Result<()> {
        let mut put = connection.prepare_cached(
            "INSERT INTO streams VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (stream) DO UPDATE SET version = excluded.version, last_position = excluded.last_position",
        )?;
        for (id, stream) in &self.streams {
            let unknown = || Failure::corrupt(stream.last.get(), "its stream's category is unknown");
            let category = category(id)?.ok_or_else(unknown)?;
            put.execute(params![
                stream.number,
                category,
                id.id,
                number(stream.version.get()),
                number(stream.last.get())
            ])?;
        }
        if let Some((position, streams)) = self.end {
            connection.prepare_cached("UPDATE stream_index SET position = ?1")?.execute([number(position)])?;
            connection.prepare_cached("DELETE FROM new_streams WHERE stream <= ?1")?.execute([streams])?;
        }
        Ok(())
    }
}
