use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use model::Position;
use parking_lot::Mutex;
use query_database::Checkpoint;

/// Remembers since when one read model has been behind the log, as far as its reads have shown.
#[derive(Debug)]
pub(crate) struct Lag {
    /// Heads that were seen before tell nothing of what the log has now.
    began: Duration,
    /// A head that the checkpoint had not reached, and the moment by which the log had it.
    missed: Mutex<Option<(Position, Duration)>>,
    /// Whether the checkpoint has reached the first head that was seen since.
    was_level: AtomicBool,
}

/// How far behind the head of the log a checkpoint is, and for how long at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) events: u64,
    pub(crate) age: Duration,
    /// Whether the rows lack what the log had before anybody here looked: how old that is, nobody here knows.
    pub(crate) is_incomplete: bool,
}

impl Lag {
    /// For rows that are asked for from `began` on.
    pub(crate) fn new(began: Duration) -> Self {
        Self { began, missed: Mutex::default(), was_level: AtomicBool::new(false) }
    }

    /// What `checkpoint`, read just now, at `now`, tells.
    ///
    /// A handler that catches up sees a younger head with each commit, so the head's own age does not tell for how long the
    /// rows have been old. The first head that was missed does, until the checkpoint has passed it.
    pub(crate) fn behind(&self, checkpoint: &Checkpoint, now: Duration) -> Behind {
        let head = checkpoint.head;
        let events = Position::count(head.position).saturating_sub(Position::count(checkpoint.position));
        // Not below zero: the head may have been seen before this process began.
        let looked_at = now.saturating_sub(head.age);
        let is_told = looked_at >= self.began && !checkpoint.lineage.0.is_empty();
        let Some(position) = head.position.filter(|_| events > 0) else {
            return Behind { events, age: head.age, is_incomplete: !self.note_level(is_told) };
        };
        let mut missed = self.missed.lock();
        let passed = missed.is_some_and(|(missed, _)| checkpoint.position >= Some(missed));
        let is_level = self.note_level(passed);
        let since = match *missed {
            // A head beyond the present one belongs to a log that was restored since.
            Some((missed, since)) if !passed && missed <= position => since.min(looked_at),
            _ => {
                *missed = (is_told || is_level).then_some((position, looked_at));
                looked_at
            }
        };
        Behind { events, age: now.saturating_sub(since).max(head.age), is_incomplete: !is_level }
    }

    /// Whether the rows have been level with the log, now or before.
    fn note_level(&self, is_level: bool) -> bool {
        let was_level = self.was_level.load(Ordering::Relaxed);
        if is_level && !was_level {
            self.was_level.store(true, Ordering::Relaxed);
        }
        is_level || was_level
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Epoch, EpochId, Lineage};
    use query_database::{Generation, HeadSeen};
    use uuid::Uuid;

    use super::*;

    fn checkpoint(position: u64, head: u64, age: u64) -> Checkpoint {
        Checkpoint {
            generation: Generation(1),
            position: Position::new(position),
            lineage: Arc::new(Lineage(vec![Epoch { id: EpochId(Uuid::nil()), first: Position::FIRST }])),
            head: HeadSeen { position: Position::new(head), age: Duration::from_secs(age) },
            held: None,
            forked: None,
        }
    }

    #[test]
    fn age_counts_from_the_first_head_that_was_missed() {
        let lag = Lag::new(Duration::ZERO);
        for (now, position, head, head_age, events, age) in [
            (10, 5, 5, 0, 0, 0),   // caught up
            (20, 5, 9, 1, 4, 1),   // the head was seen a second ago
            (25, 6, 90, 0, 84, 6), // each commit brings a younger head, but 9 is still missing
            (30, 9, 95, 0, 86, 0), // 9 is there: 95 is the next one to wait for
            (32, 20, 99, 0, 79, 2),
            (40, 99, 99, 0, 0, 0),
            (50, 1, 2, 0, 1, 0),   // the log was restored
            (51, 2, 3, 90, 1, 90), // seen by another process, before this one began
        ] {
            let behind = lag.behind(&checkpoint(position, head, head_age), Duration::from_secs(now));
            let expected = Behind { events, age: Duration::from_secs(age), is_incomplete: false };
            assert_eq!(behind, expected, "at {now}");
        }
    }

    #[test]
    fn rows_are_incomplete_until_they_have_the_first_head_that_was_seen() {
        let lag = Lag::new(Duration::ZERO);
        let empty = Checkpoint { lineage: Arc::default(), ..checkpoint(0, 0, 0) };
        assert!(lag.behind(&empty, Duration::ZERO).is_incomplete, "nobody knows how far the log goes");
        let lag = Lag::new(Duration::from_secs(1));
        let of_a_former_process = lag.behind(&checkpoint(5, 5, 1), Duration::from_secs(1));
        assert!(of_a_former_process.is_incomplete, "the log may have gone on since");
        for (position, head, is_incomplete) in
            [(1, 9, true), (8, 20, true), (9, 30, false), (9, 40, false), (40, 40, false), (41, 50, false)]
        {
            let behind = lag.behind(&checkpoint(position, head, 0), Duration::from_secs(1));
            assert_eq!(behind.is_incomplete, is_incomplete, "at {position} of {head}");
        }
    }
}
