//! The log's lives: what begins another one.
//!
//! Positions of two lives do not compare, so no position may be given twice in one. The log's end keeps the server and the
//! timeline that it was written on, and each process the furthest end that it has seen: where either does not fit, another
//! life begins, in the same transaction as the next append, or when the next connection is made.

use deadpool_postgres::Object;
use model::{Epoch, EpochId, Position};
use uuid::Uuid;

use super::{PostgresEventStore, connections::Connections, failure::Result, row};
use crate::Error;

/// The furthest end of the log that this process has seen in the present epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen(Option<(EpochId, u64)>);

impl Seen {
    /// As parameters of the server's functions; nothing is seen further than position 0 of no epoch.
    pub(super) fn parameters(self) -> (Option<Uuid>, i64) {
        self.0.map_or((None, 0), |(epoch, position)| (Some(epoch.0), row::number(position)))
    }

    /// How many events have been seen that a log whose end is here does not have.
    fn missing(self, epoch: EpochId, position: u64) -> u64 {
        self.0.filter(|(seen, _)| *seen == epoch).map_or(0, |(_, furthest)| furthest.saturating_sub(position))
    }

    pub(super) fn note(&mut self, epoch: EpochId, position: Option<Position>) {
        let position = Position::count(position);
        match &mut self.0 {
            Some((seen, furthest)) if *seen == epoch => *furthest = position.max(*furthest),
            seen => *seen = Some((epoch, position)),
        }
    }
}

/// Whether this user may begin another life, and whether the present one may be over. Waits for no lock.
const SUSPECT: &str = "SELECT h.epoch, h.position, h.written_by <> diptych.present_server() FROM diptych.log_head h";
const MAY_RECOGNISE: &str = "SELECT has_function_privilege('diptych.recognise(uuid, bigint, uuid, bigint)', 'EXECUTE')";

impl Connections {
    /// Sees to it that the log is in a life of its own, where this user may. Others leave it to those who append.
    pub(super) async fn recognise(&self, connection: &Object) -> Result<()> {
        if !connection.query_one(MAY_RECOGNISE, &[]).await?.try_get::<_, bool>(0)? {
            return Ok(());
        }
        // What was seen before the question: other tasks may see more meanwhile.
        let seen = *self.seen.lock();
        let row = connection.query_one(SUSPECT, &[]).await?;
        let (epoch, position) = (EpochId(row.try_get(0)?), row.try_get::<_, i64>(1)?.cast_unsigned());
        if !row.try_get::<_, bool>(2)? && seen.missing(epoch, position) == 0 {
            return Ok(());
        }
        let missing = seen.missing(epoch, position);
        let (seen_epoch, seen_position) = seen.parameters();
        let (fresh, now) = (self.runtime().uuid(), self.runtime().wall_clock().as_microsecond());
        let statement = "SELECT diptych.recognise($1, $2, $3, $4)";
        let epoch: Uuid =
            connection.query_one(statement, &[&seen_epoch, &seen_position, &fresh, &now]).await?.try_get(0)?;
        if epoch == fresh {
            tracing::warn!(
                log.epoch = %epoch, log.position = position, lost.events = missing,
                "the log goes on in another life: its server or its end is not what it was, and what was seen beyond that is lost"
            );
        }
        Ok(())
    }

    /// As [`Connections::recognise`], once the end of the log is seen to be nearer than it was.
    pub(super) async fn recognise_fall(&self, seen: Seen, epoch: EpochId, position: Option<Position>) -> Result<bool> {
        if seen.missing(epoch, Position::count(position)) == 0 {
            return Ok(false);
        }
        self.memory.lock().forget();
        let connection = self.for_others().await?;
        self.answered(self.recognise(&connection)).await?;
        Ok(true)
    }
}

impl PostgresEventStore {
    /// Begins another life of the log: what is appended from now on belongs to it. Durable when it returns. Takes a member of
    /// the role `<prefix>_migrator`.
    ///
    /// To be called on a log that was moved, or restored in a way that kept its timeline; where a server was promoted, or
    /// recovered to a point in time, the log begins one by itself.
    /// # Errors
    /// As [`EventStore::append`](crate::EventStore::append): after [`Error::Commit`] whether it has begun is unknown; that one
    /// more begins then does no harm.
    pub async fn begin_epoch(&self) -> std::result::Result<Epoch, Error> {
        let log = self.connections.log();
        let connection = self.connections.for_append().await.map_err(|failure| failure.while_writing(log))?;
        let runtime = self.connections.runtime();
        let (id, now) = (EpochId(runtime.uuid()), runtime.wall_clock().as_microsecond());
        let statement = "SELECT diptych.begin_epoch($1, $2)";
        let rows = self.connections.run(connection, statement, &[&id.0, &now]).await;
        let rows = rows.map_err(|failure| failure.while_committing(log))?;
        let first = rows.first().map(|row| row::position(row, 0)).transpose();
        let first = first.map_err(|failure| failure.while_reading(log))?.flatten();
        Ok(Epoch { id, first: first.unwrap_or(Position::FIRST) })
    }
}
