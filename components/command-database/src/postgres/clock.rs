//! The log's own clock: microseconds during which some process had it open, whatever wall clocks did meanwhile.
//!
//! No process owns it. Each knows what the stored clock was when it last looked, and how much of its own monotonic time has
//! passed since: the sum is never more than what has truly passed, so the greatest of such claims is right, however many
//! processes make one, and none is counted twice. A look that is long ago claims nothing, so that no process can bring in an
//! hour at once that the others' records know nothing of: the clock stands still then, and what waits for it lives longer.

use std::time::Duration;

use model::Position;
use parking_lot::Mutex;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    connections::Connections,
    failure::{Failure, Result},
    row::{self, number, value},
};
use crate::RelayLease;

/// The oldest look that still claims time, and how far two processes' clocks may be apart.
const CLAIM_MAX: Duration = Duration::from_secs(60);
/// Keys that one statement looks at.
const EXPIRY_KEYS_MAX: i64 = 4096;

/// The last look: what the clock was, and when, by this process.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<(i64, Duration)>>);

impl Clock {
    /// What this process can say of the clock; 0 where it cannot say anything.
    pub(super) fn claim(&self, now: Duration) -> i64 {
        match *self.0.lock() {
            Some((elapsed, at)) if now.saturating_sub(at) <= CLAIM_MAX => {
                elapsed + microseconds(now.saturating_sub(at))
            }
            _ => 0,
        }
    }

    /// `now` is after the answer came, so that the way here is not counted.
    pub(super) fn look(&self, elapsed: i64, now: Duration) {
        let mut last = self.0.lock();
        let is_news = last.is_none_or(|(known, at)| {
            elapsed >= known + microseconds(now.saturating_sub(at)) || now.saturating_sub(at) > CLAIM_MAX
        });
        if is_news {
            *last = Some((elapsed, now));
        }
    }
}

fn microseconds(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl Connections {
    /// Looks at the clock for the first time.
    pub(super) async fn start_clock(&self, clock: &Clock) -> Result<()> {
        // A user that may not see it has no use for it.
        let may_see = "SELECT has_table_privilege('diptych.clock', 'SELECT')";
        let may_see = self.read(may_see, &[]).await?;
        if !may_see.first().map(|row| value(row, 0)).transpose()?.unwrap_or(false) {
            return Ok(());
        }
        let rows = self.read("SELECT elapsed FROM diptych.clock", &[]).await?;
        self.look(clock, rows.first(), 0)?;
        Ok(())
    }

    fn look(&self, clock: &Clock, row: Option<&Row>, column: usize) -> Result<i64> {
        let row = row.ok_or_else(|| Failure::corrupt(0, "the log's clock is missing"))?;
        let elapsed = value(row, column)?;
        clock.look(elapsed, self.runtime().now());
        Ok(elapsed)
    }

    pub(super) async fn lease_relay(&self, clock: &Clock, holder: Uuid, ttl: Duration) -> Result<Option<RelayLease>> {
        let claim = clock.claim(self.runtime().now());
        let rows = self.write(LEASE, &[&claim, &holder, &microseconds(ttl)]).await?;
        self.look(clock, rows.first(), 0)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let Some(token) = value::<Option<i64>>(row, 1)? else { return Ok(None) };
        Ok(Some(RelayLease { token: token.cast_unsigned(), cursor: row::position(row, 2)? }))
    }

    pub(super) async fn store_relay_cursor(&self, token: u64, cursor: Position) -> Result<bool> {
        let statement = "UPDATE diptych.relay SET cursor = $2 WHERE token = $1 RETURNING token";
        Ok(!self.write(statement, &[&token.cast_signed(), &number(cursor.get())]).await?.is_empty())
    }

    pub(super) async fn expire_idempotency(&self, clock: &Clock, keep: Duration) -> Result<u64> {
        let claim = clock.claim(self.runtime().now());
        let rows = self.write(ADVANCE, &[&claim]).await?;
        let elapsed = self.look(clock, rows.first(), 0)?;
        // As much longer as the clock of the process that wrote a record may have been behind.
        let before = elapsed.saturating_sub(microseconds(keep.saturating_add(keep.min(CLAIM_MAX))));
        let (mut after, mut expired) = (Some(Vec::<u8>::new()), 0);
        while let Some(from) = after {
            let rows = self.write(EXPIRE, &[&from, &EXPIRY_KEYS_MAX, &before]).await?;
            let row = rows.first().ok_or_else(|| Failure::corrupt(0, "a count has no row"))?;
            expired += value::<i64>(row, 0)?.cast_unsigned();
            after = value(row, 1)?;
        }
        Ok(expired)
    }
}

const ADVANCE: &str = "UPDATE diptych.clock SET elapsed = greatest(elapsed, $1) RETURNING elapsed";

/// Always one row: the clock, and the lease where it is granted. The clock's row is taken first, so that two who ask at once
/// are answered one after the other.
const LEASE: &str = "WITH clock AS (UPDATE diptych.clock SET elapsed = greatest(elapsed, $1) RETURNING elapsed),
    leased AS (
        UPDATE diptych.relay r
        SET token = token + CASE WHEN r.holder = $2 AND clock.elapsed < r.until THEN 0 ELSE 1 END,
            holder = $2, until = clock.elapsed + $3
        FROM clock
        WHERE r.holder IS NULL OR r.holder = $2 OR clock.elapsed >= r.until
        RETURNING r.token, r.cursor)
    SELECT clock.elapsed, leased.token, leased.cursor FROM clock LEFT JOIN leased ON true";

/// A stretch of keys at a time: each is a short transaction.
const EXPIRE: &str = "WITH slice AS (SELECT key FROM diptych.idempotency WHERE key > $1 ORDER BY key LIMIT $2),
    gone AS (DELETE FROM diptych.idempotency i USING slice WHERE i.key = slice.key AND i.elapsed < $3 RETURNING 1)
    SELECT (SELECT count(*) FROM gone), (SELECT key FROM slice ORDER BY key DESC LIMIT 1)";

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn whoever_has_not_looked_claims_nothing() {
        assert_eq!(Clock::default().claim(seconds(1_000)), 0);
    }

    #[test]
    fn time_since_the_last_look_is_claimed_until_that_is_too_long_ago() {
        let clock = Clock::default();
        clock.look(5_000_000, seconds(100));
        assert_eq!(clock.claim(seconds(100)), 5_000_000);
        assert_eq!(clock.claim(seconds(130)), 35_000_000);
        assert_eq!(clock.claim(seconds(161)), 0);
        clock.look(6_000_000, seconds(161));
        assert_eq!(clock.claim(seconds(162)), 7_000_000);
    }

    #[test]
    fn a_late_answer_takes_nothing_back() {
        let clock = Clock::default();
        clock.look(5_000_000, seconds(100));
        clock.look(5_000_000, seconds(110));
        assert_eq!(clock.claim(seconds(120)), 25_000_000, "the first look is the better one");
        clock.look(40_000_000, seconds(120));
        assert_eq!(clock.claim(seconds(120)), 40_000_000, "another process knows more");
    }

    #[test]
    fn claims_of_several_processes_are_not_added_up() {
        let clocks = [Clock::default(), Clock::default(), Clock::default()];
        let mut stored = 0;
        for now in 0..1_000_u64 {
            let clock = &clocks[now as usize % 3];
            stored = clock.claim(seconds(now)).max(stored);
            clock.look(stored, seconds(now));
        }
        assert!(stored <= 999_000_000, "{stored}");
        assert!(stored >= 990_000_000, "{stored}");
    }
}
