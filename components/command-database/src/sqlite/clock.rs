//! The log's own clock: seconds during which it was open, summed over all openings.
//!
//! A jump of the wall clock does not move it, and time in which nobody could have sent again does not count.

use std::time::Duration;

use rusqlite::Connection;

use super::failure::Result;

/// How much of it a crash may take back. Records live longer by as much.
const KEEP_EVERY: i64 = 60;

pub(super) struct Clock {
    /// Where it stood when the log was opened.
    before: i64,
    opened: Duration,
    kept: i64,
}

impl Clock {
    pub(super) fn read(connection: &Connection, now: Duration) -> Result<Self> {
        let before = connection.query_row("SELECT elapsed FROM clock", [], |row| row.get(0))?;
        Ok(Self { before, opened: now, kept: before })
    }

    pub(super) fn seconds(&self, now: Duration) -> i64 {
        let open = now.saturating_sub(self.opened).as_secs();
        self.before.saturating_add_unsigned(open)
    }

    /// Stores it if the stored one is old, within the caller's transaction. Should that be rolled back, the next try is
    /// a while later, which costs no more than a crash.
    pub(super) fn keep_roughly(&mut self, connection: &Connection, now: Duration) -> Result<()> {
        if self.seconds(now) - self.kept >= KEEP_EVERY { self.keep(connection, now) } else { Ok(()) }
    }

    pub(super) fn keep(&mut self, connection: &Connection, now: Duration) -> Result<()> {
        let seconds = self.seconds(now);
        connection.prepare_cached("UPDATE clock SET elapsed = ?1")?.execute([seconds])?;
        self.kept = seconds;
        Ok(())
    }
}
