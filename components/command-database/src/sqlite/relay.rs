//! Who may run the relay, and how far it came.

use std::time::Duration;

use model::Position;
use rusqlite::params;
use uuid::Uuid;

use super::{failure::Result, row::number, writer::Writer};
use crate::RelayLease;

/// The holder and until when, in monotonic time. Only in memory: one process at a time has the log open, so that a holder
/// of an earlier opening is gone, and its token refuses whatever of it might still arrive.
pub(super) type Lease = Option<(Uuid, Duration)>;

impl Writer {
    pub(super) fn lease_relay(&mut self, holder: Uuid, ttl: Duration, now: Duration) -> Result<Option<RelayLease>> {
        let is_held = match self.lease {
            Some((present, until)) if present == holder && now < until => true,
            Some((_, until)) if now < until => return Ok(None),
            _ => false,
        };
        let read = "SELECT token, cursor FROM relay";
        let take = "UPDATE relay SET token = token + 1 RETURNING token, cursor";
        let (token, cursor) = self
            .connection
            .prepare_cached(if is_held { read } else { take })?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))?;
        self.lease = Some((holder, now.saturating_add(ttl)));
        let cursor = cursor.and_then(|cursor| Position::new(cursor.cast_unsigned()));
        Ok(Some(RelayLease { token: token.cast_unsigned(), cursor }))
    }

    pub(super) fn store_relay_cursor(&mut self, token: u64, cursor: Position) -> Result<bool> {
        let mut statement = self.connection.prepare_cached("UPDATE relay SET cursor = ?2 WHERE token = ?1")?;
        Ok(statement.execute(params![token.cast_signed(), number(cursor.get())])? == 1)
    }
}
