//! Which generation an apply loop keeps, whether that belongs to this log, and when it answers.

use std::sync::Arc;

use model::Position;
use query_database::Owned;
use tracing::{error, info, warn};

use crate::{apply::ApplyLoop, direct::ReadReason, entry::chain_of, feed::holds, present::Present};

impl ApplyLoop {
    pub(crate) async fn try_to_serve(&mut self) {
        match self.process.rows.switch(self.owned.generation, self.owned.owner).await {
            Ok(true) => {
                self.owned.serving = true;
                self.board().switched();
                self.board().alarm(None);
                info!(projection.name = self.read_model.name, generation = %self.owned.generation, "a new generation answers from now on");
            }
            Ok(false) => self.look_at_serving().await,
            Err(error) => {
                warn!(projection.name = self.read_model.name, error = %chain_of(&error), "the generations could not be switched");
            }
        }
    }

    async fn look_at_serving(&mut self) {
        if let Ok(generations) = self.process.rows.generations().await {
            let of_this = |status: &&query_database::GenerationStatus| status.read_model == self.read_model.name;
            self.serving_at =
                generations.iter().filter(of_this).find(|status| status.serving).and_then(|status| status.position);
            let own = generations.iter().find(|status| status.generation == self.owned.generation);
            self.held = own.and_then(|status| status.held.as_deref()).map(Arc::from);
            self.board().held(self.held.clone());
        }
    }

    /// Takes the generation of this version and shape over, and makes sure that it belongs to this log. `false` when the
    /// process is to end first.
    pub(crate) async fn take_over(&mut self) -> bool {
        loop {
            match self.process.rows.take(self.read_model.clone()).await {
                Ok(owned) => {
                    self.own(owned).await;
                    return self.compare_with_log().await;
                }
                Err(error) => {
                    warn!(projection.name = self.read_model.name, error = %chain_of(&error), "a read model cannot be taken over; trying again");
                    if !self.pause().await {
                        return false;
                    }
                }
            }
        }
    }

    async fn own(&mut self, owned: Owned) {
        self.folder.rollback();
        self.present = owned.position.is_none().then(Present::default);
        self.backlog = Vec::new().into_iter();
        let empty_log = self.process.board.seen.lock().head.is_none();
        let filled = !owned.serving || (owned.position.is_none() && !empty_log);
        self.reading = if filled { ReadReason::Rebuild } else { ReadReason::CatchUp };
        let metrics = self.process.metrics.of_projection(&self.read_model.name, owned.generation.0);
        self.board().owned(&owned, metrics);
        self.owned = owned;
        self.look_at_serving().await;
    }

    /// Compares the checkpoint with the log. One that is not of this log cannot be gone on from: rows do not unfold.
    pub(crate) async fn compare_with_log(&mut self) -> bool {
        loop {
            match holds(&self.process, self.owned.position, self.owned.hash).await {
                Ok(true) => return true,
                Ok(false) => return self.start_anew().await,
                Err(error) => {
                    warn!(projection.name = self.read_model.name, error = %chain_of(&error), "a checkpoint cannot be compared with the log; trying again");
                }
            }
            if !self.pause().await {
                return false;
            }
        }
    }

    async fn start_anew(&mut self) -> bool {
        let what = format!(
            "checkpoint {} of generation {} is not one of this log",
            Position::count(self.owned.position),
            self.owned.generation
        );
        error!(projection.name = self.read_model.name, alarm = what, "the read model is built anew");
        loop {
            match self.process.rows.take_anew(self.read_model.clone()).await {
                Ok(owned) => {
                    self.board().alarm(Some(what.into()));
                    self.own(owned).await;
                    return true;
                }
                Err(error) => {
                    warn!(projection.name = self.read_model.name, error = %chain_of(&error), "a new generation cannot be made; trying again");
                    if !self.pause().await {
                        return false;
                    }
                }
            }
        }
    }
}
