use serde::{Deserialize, Serialize};

use crate::{ConsistencyToken, EpochId, Position};

/// One life of the log: its id, and the first position written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Fresh and unique: two restores of one backup are two epochs.
    pub id: EpochId,
    /// The first position that belongs to it.
    pub first: Position,
}

/// All lives of a log, oldest first. An epoch owns the positions from its first one up to the next epoch's first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage(pub Vec<Epoch>);

/// What a lineage says of a consistency token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The prefix it names is one of this log: wait until a checkpoint is at least here.
    Reach(Position),
    /// Its epoch is not known here yet: wait as for a position not yet reached.
    UnknownEpoch,
    /// A later epoch forked off below it: what it saw is gone.
    BeyondFork,
}

impl Lineage {
    /// The present epoch.
    #[must_use]
    pub fn current(&self) -> Option<Epoch> {
        self.0.last().copied()
    }

    /// The epoch that `position` was, or would be, written in.
    #[must_use]
    pub fn epoch_of(&self, position: Position) -> Option<EpochId> {
        self.0.iter().rev().find(|epoch| epoch.first <= position).map(|epoch| epoch.id)
    }

    /// Whether `token` names a prefix of this log.
    #[must_use]
    pub fn judge(&self, token: &ConsistencyToken) -> Verdict {
        let Some(index) = self.0.iter().position(|epoch| epoch.id == token.epoch) else {
            return Verdict::UnknownEpoch;
        };
        // Any later epoch, not only the next one: a second restore may go back further than the first did.
        if self.0[index + 1..].iter().any(|later| later.first <= token.position) {
            Verdict::BeyondFork
        } else {
            Verdict::Reach(token.position)
        }
    }

    /// Whether `later` is this log after further lives have begun.
    #[must_use]
    pub fn is_continued_by(&self, later: &Self) -> bool {
        later.0.len() > self.0.len() && later.0.starts_with(&self.0)
    }

    /// This lineage with the lives that `former` logs had and this one does not, put before its first one. So they are not
    /// forgotten when the log is restored from a copy older than they are, or replaced by another: all that they saw lies
    /// beyond a fork.
    ///
    /// One that is this log at a later time is left out: what is not known yet is not gone.
    #[must_use]
    pub fn remembering<'a>(&self, former: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut epochs = Vec::new();
        for former in former.into_iter().filter(|former| !self.is_continued_by(former)) {
            let is_gone = |epoch: &&Epoch| !self.0.iter().chain(&epochs).any(|known| known.id == epoch.id);
            let gone: Vec<Epoch> = former.0.iter().filter(is_gone).copied().collect();
            epochs.extend(gone);
        }
        epochs.extend(&self.0);
        Self(epochs)
    }
}
