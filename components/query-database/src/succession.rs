//! Which generation may answer in the place of which: the same on every engine.

use model::{ConsistencyToken, Lineage, Position, Verdict};

/// Where a generation stands.
#[derive(Debug, Default)]
pub(crate) struct Stand {
    pub(crate) position: Option<Position>,
    /// The end of the log as last stored with it.
    pub(crate) head: Option<Position>,
    /// The lineage it lies in; none where nothing was ever stored with it.
    pub(crate) lineage: Option<Lineage>,
    pub(crate) forked: bool,
}

/// Whether `next` may answer in the place of `serving`: [`RowWriter::switch`](crate::RowWriter::switch).
pub(crate) fn may_replace(next: &Stand, serving: &Stand) -> bool {
    let log = later(next, serving);
    if !next.is_of(log) {
        return false;
    }
    if serving.is_of(log) {
        return next.position >= serving.position;
    }
    // Positions of two histories do not compare. What answers anew has the whole log, as far as its owner has seen.
    next.lineage.is_some() && next.position >= next.head
}

/// The lineage of the log. Of two that differ it is that of the one who asks to answer, who has just compared it with the log;
/// but not when that is merely older.
fn later<'a>(next: &'a Stand, serving: &'a Stand) -> Option<&'a Lineage> {
    match (&next.lineage, &serving.lineage) {
        (Some(ours), Some(theirs)) if ours.is_continued_by(theirs) => Some(theirs),
        (Some(ours), _) => Some(ours),
        (None, theirs) => theirs.as_ref(),
    }
}

impl Stand {
    /// Whether its rows are the fold of a prefix of the log of this lineage; otherwise they contain what that does not have.
    fn is_of(&self, log: Option<&Lineage>) -> bool {
        let (Some(position), Some(log)) = (self.position, log) else { return !self.forked };
        let epoch = self.lineage.as_ref().and_then(|lineage| lineage.epoch_of(position));
        let reach = |epoch| log.judge(&ConsistencyToken { epoch, position }) == Verdict::Reach(position);
        !self.forked && epoch.is_none_or(reach)
    }
}

#[cfg(test)]
mod tests {
    use model::{Epoch, EpochId};
    use uuid::Uuid;

    use super::*;

    /// At this position, by a lineage of these epochs and first positions.
    fn at(position: u64, lineage: &[(u128, u64)]) -> Stand {
        let epoch = |(id, first): &(u128, u64)| Epoch {
            id: EpochId(Uuid::from_u128(*id)),
            first: Position::new(*first).expect("positions count from 1"),
        };
        let lineage = Some(Lineage(lineage.iter().map(epoch).collect()));
        Stand { position: Position::new(position), head: Position::new(position), lineage, forked: false }
    }

    #[test]
    fn within_one_history_the_position_decides() {
        let log = [(1, 1), (2, 51)];
        for (next, serving, may) in [(60, 60, true), (61, 60, true), (59, 60, false), (0, 0, true), (0, 1, false)] {
            assert_eq!(may_replace(&at(next, &log), &at(serving, &log)), may, "{next} for {serving}");
        }
        // By a lineage that has not heard of the fork, but below it.
        assert!(!may_replace(&at(40, &log), &at(50, &log[..1])));
        assert!(may_replace(&at(50, &log), &at(50, &log[..1])));
    }

    #[test]
    fn what_stands_beyond_a_fork_is_replaced_by_what_has_the_whole_log() {
        for serving in [at(100, &[(1, 1)]), at(100, &[(1, 1), (3, 60)]), at(100, &[(9, 1)])] {
            let log = [(1, 1), (2, 51)];
            assert!(may_replace(&at(55, &log), &serving), "{serving:?}");
            assert!(!may_replace(&Stand { head: Position::new(56), ..at(55, &log) }, &serving), "{serving:?}");
        }
    }

    #[test]
    fn who_has_not_heard_of_the_fork_does_not_replace_who_has() {
        let (old, log) = (&[(1, 1)], &[(1, 1), (2, 51)]);
        for (next, serving, may) in
            [(100, 60, false), (100, 40, false), (50, 60, false), (50, 50, true), (50, 40, true)]
        {
            assert_eq!(may_replace(&at(next, old), &at(serving, log)), may, "{next} for {serving}");
        }
    }

    #[test]
    fn a_mark_tells_what_the_lineages_cannot() {
        let marked = Stand { forked: true, ..at(100, &[(1, 1)]) };
        assert!(may_replace(&at(55, &[(1, 1)]), &marked));
        assert!(!may_replace(&marked, &at(1, &[(1, 1)])), "it never begins to answer");
    }

    #[test]
    fn what_nothing_was_stored_with_replaces_nothing() {
        let made = Stand::default();
        assert!(!may_replace(&made, &at(1, &[(1, 1)])));
        assert!(
            !may_replace(&made, &Stand { forked: true, ..at(1, &[(1, 1)]) }),
            "whether it has the log is not known"
        );
        assert!(may_replace(&made, &Stand::default()));
    }
}
