//! Which generation an apply loop keeps, whether that belongs to this log, and when it answers.

use std::{sync::Arc, time::Duration};

use model::{Hash, Position};
use query_database::{Forked, Generation, GenerationStatus, HeadSeen, Owned};
use tracing::{error, info, warn};

use crate::{
    apply::ApplyLoop,
    direct::ReadReason,
    entry::{Entry, chain_of},
    history,
    present::Present,
};

/// How often one that stands by looks whether the generation moves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a generation could not be taken, compared or switched to.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the log cannot be read")]
    Log(#[from] command_database::Error),
    #[error("the rows' database does not answer")]
    Rows(#[from] query_database::Error),
}

impl ApplyLoop {
    /// Lets the generation answer, unless what answers now is further by now.
    pub(crate) async fn try_to_serve(&mut self) {
        // What is to answer from now on is of the log as it is now, not only as it was when its filling began.
        if !self.compare_with_log().await || self.owned.position < self.serving_at {
            return;
        }
        match self.switch().await {
            Ok(true) => {
                self.owned.serving = true;
                self.board().switched();
                self.board().alarm(None);
                info!(projection.name = self.read_model.name, generation = %self.owned.generation, "a new generation answers from now on");
            }
            // There is more to come, and with it the next try.
            Ok(false) => {}
            Err(error) => {
                warn!(projection.name = self.read_model.name, error = %chain_of(&error), "the generations could not be switched");
            }
        }
    }

    async fn switch(&mut self) -> Result<bool, Trouble> {
        let Owned { generation, owner, position, .. } = self.owned;
        // The switch goes by what is stored.
        let asked = self.process.runtime.now();
        let head = self.process.store.head().await?.position;
        let age = self.process.runtime.now().saturating_sub(asked);
        let head = HeadSeen { position: head.max(position), age };
        self.process.rows.refresh_head(vec![(generation, owner)], self.board().lineage(), head).await?;
        // It may have much to do first, which a process that is to end does not wait for.
        tokio::select! {
            biased;
            switched = self.process.rows.switch(generation, owner) => Ok(switched?),
            () = self.process.shutdown.requested() => Ok(false),
        }
    }

    /// Waits while another owner keeps the generation. That one is gone when it no longer stores how far the log is, which it
    /// does even where there is nothing to fold, or it is stuck when it does not move on. By the database's clock, and without
    /// a lease: whoever takes over too early costs the other one a batch, and the fence keeps the rows right.
    pub(crate) async fn stand_by(&mut self) {
        let Some(standstill) = self.process.config.standstill else { return };
        let began = self.process.runtime.now();
        let (mut stood_at, mut since) = (None, began);
        while self.process.pause(LOOK_EVERY).await {
            let now = self.process.runtime.now();
            let Ok(all) = self.process.rows.generations().await else {
                // Nobody can move it on either.
                since = now;
                continue;
            };
            let found = all.into_iter().find(|found| found.generation == self.owned.generation);
            let Some(found) = found.filter(|found| !found.forked) else { return };
            self.board().followed(found.position, found.serving, found.held.as_deref().map(Arc::from));
            let head = *self.process.board.seen.lock();
            if found.position >= head.head || found.position != stood_at || found.held.is_some() {
                (stood_at, since) = (found.position, now);
            }
            // Whoever does not reach the log itself does no better.
            let is_gone = found.head_age >= standstill
                && now.saturating_sub(began) >= standstill
                && now.saturating_sub(head.at) < standstill;
            if is_gone || now.saturating_sub(since) >= standstill {
                info!(projection.name = self.read_model.name, generation = %found.generation, owner.gone = is_gone, "its owner does not keep it; taking it over");
                return;
            }
        }
    }

    /// Takes the generation of this version and shape over, and makes sure that it belongs to this log. `false` when the
    /// process is to end first.
    pub(crate) async fn take_over(&mut self) -> bool {
        loop {
            match self.take_and_compare().await {
                Ok(true) => return true,
                // It is marked, so that the next one is another.
                Ok(false) => {}
                Err(error) => {
                    warn!(projection.name = self.read_model.name, error = %chain_of(&error), "a read model cannot be taken over; trying again");
                    if !self.pause().await {
                        return false;
                    }
                }
            }
        }
    }

    async fn take_and_compare(&mut self) -> Result<bool, Trouble> {
        let owned = self.process.rows.take(self.read_model.clone()).await?;
        self.own(owned);
        self.compare().await
    }

    fn own(&mut self, owned: Owned) {
        self.folder.rollback();
        self.present = owned.position.is_none().then(Present::default);
        self.backlog = Vec::new().into_iter();
        self.is_filled_up = false;
        let empty_log = self.process.board.seen.lock().head.is_none();
        let filled = !owned.serving || (owned.position.is_none() && !empty_log);
        self.reading = if filled { ReadReason::Rebuild } else { ReadReason::CatchUp };
        let metrics = self.process.metrics.of_projection(&self.read_model.name, owned.generation.0);
        self.board().owned(&owned, metrics);
        self.owned = owned;
    }

    /// Compares the checkpoint with the log, and takes another generation where the log does not have it: rows do not unfold.
    /// `false` when the process is to end first.
    pub(crate) async fn compare_with_log(&mut self) -> bool {
        loop {
            match self.compare().await {
                Ok(true) => return true,
                Ok(false) => return self.take_over().await,
                Err(error) => {
                    warn!(projection.name = self.read_model.name, error = %chain_of(&error), "a checkpoint cannot be compared with the log; trying again");
                }
            }
            if !self.pause().await {
                return false;
            }
        }
    }

    /// What was to be applied does not follow on the checkpoint, or lies in an epoch that is not known: the log may have
    /// begun another life, or what was received may be of an earlier one.
    pub(crate) async fn look_for_a_fork(&mut self) {
        self.backlog = Vec::new().into_iter();
        self.process.log.forget();
        // The feed compares too: what it has received may be what is wrong.
        self.process.log_changed.notify_one();
        self.pause().await;
        self.compare_with_log().await;
    }

    /// Whether the lineage that the checkpoint was found in gives the last of these its epoch. All before it are what it
    /// follows on.
    pub(crate) fn knows_the_epoch_of(&self, entries: &[Entry]) -> bool {
        entries.last().is_none_or(|last| self.board().lineage().epoch_of(last.position) == Some(last.epoch()))
    }

    /// Whether the log has the checkpoint. Marks it otherwise, and those of the read model's other generations likewise.
    async fn compare(&mut self) -> Result<bool, Trouble> {
        let Owned { generation, position, hash, .. } = self.owned;
        if !self.is_in_log(generation, position, hash).await? {
            return Ok(false);
        }
        self.look_at_others().await?;
        Ok(true)
    }

    /// Whether the log has this checkpoint; marks it otherwise.
    async fn is_in_log(
        &mut self,
        generation: Generation,
        position: Option<Position>,
        hash: Hash,
    ) -> Result<bool, Trouble> {
        let history::Found { is_there, lineage } = history::find(&self.process, position, hash).await?;
        let Some(position) = position.filter(|_| !is_there) else {
            if generation == self.owned.generation {
                self.board().found_in(lineage);
            }
            return Ok(true);
        };
        let name = &self.read_model.name;
        error!(
            projection.name = name,
            alarm = not_of_this_log(Some(position), generation),
            "the read model is built anew"
        );
        // What was read of the former log must not get into the new generation.
        self.process.log.forget();
        // Where it moved on meanwhile, its owner has something to say of it, or takes it and compares again.
        self.process.rows.mark_forked(Forked { generation, position, hash, lineage }).await?;
        Ok(false)
    }

    /// The other generations of the read model: whether the log has their checkpoints, and how far the one is that answers.
    async fn look_at_others(&mut self) -> Result<(), Trouble> {
        let generations = self.process.rows.generations().await?;
        let own = generations.iter().find(|status| status.generation == self.owned.generation);
        self.held = own.and_then(|status| status.held.as_deref()).map(Arc::from);
        self.board().held(self.held.clone());
        let is_other = |status: &&GenerationStatus| {
            status.read_model == self.read_model.name && status.generation != self.owned.generation
        };
        let others: Vec<_> = generations.iter().filter(is_other).collect();
        let mut alarm = None;
        for other in others {
            let (generation, position) = (other.generation, other.position);
            let is_in_log = !other.forked && self.is_in_log(generation, position, other.hash).await?;
            if other.serving {
                self.serving_at = if is_in_log { position } else { self.process.store.head().await?.position };
                alarm = (!is_in_log).then(|| not_of_this_log(position, generation).into());
            }
        }
        self.board().alarm(alarm);
        Ok(())
    }
}

fn not_of_this_log(checkpoint: Option<Position>, generation: Generation) -> String {
    format!("checkpoint {} of generation {generation} is not one of this log", Position::count(checkpoint))
}
