use std::time::Duration;

use model::Position;
use parking_lot::Mutex;
use query_database::Checkpoint;

/// Remembers since when one read model has been behind the log, as far as its reads have shown.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// A head that the checkpoint had not reached, and the moment by which the log had it.
    missed: Mutex<Option<(Position, Duration)>>,
}

/// How far behind the head of the log a checkpoint is, and for how long at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) events: u64,
    pub(crate) age: Duration,
}

impl Lag {
    /// What `checkpoint`, read just now, at `now`, tells.
    ///
    /// A handler that catches up sees a younger head with each commit, so the head's own age does not tell for how long the
    /// rows have been old. The first head that was missed does, until the checkpoint has passed it.
    pub(crate) fn behind(&self, checkpoint: &Checkpoint, now: Duration) -> Behind {
        let head = checkpoint.head;
        let events = Position::count(head.position).saturating_sub(Position::count(checkpoint.position));
        // Not below zero: the head may have been seen before this process began.
        let seen = now.saturating_sub(head.age);
        let age_min = head.age;
        let Some(head) = head.position.filter(|_| events > 0) else {
            return Behind { events, age: age_min };
        };
        let mut missed = self.missed.lock();
        let since = match *missed {
            // A head beyond the present one belongs to a log that was restored since.
            Some((position, since)) if checkpoint.position < Some(position) && position <= head => since.min(seen),
            _ => seen,
        };
        if since == seen {
            *missed = Some((head, seen));
        }
        Behind { events, age: now.saturating_sub(since).max(age_min) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Lineage;
    use query_database::{Generation, HeadSeen};

    use super::*;

    fn checkpoint(position: u64, head: u64, age: u64) -> Checkpoint {
        Checkpoint {
            generation: Generation(1),
            position: Position::new(position),
            lineage: Arc::new(Lineage::default()),
            head: HeadSeen { position: Position::new(head), age: Duration::from_secs(age) },
            held: None,
            forked: None,
        }
    }

    #[test]
    fn age_counts_from_the_first_head_that_was_missed() {
        let lag = Lag::default();
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
            assert_eq!(behind, Behind { events, age: Duration::from_secs(age) }, "at {now}");
        }
    }
}
