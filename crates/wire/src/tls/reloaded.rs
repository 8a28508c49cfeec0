use std::{sync::Arc, time::Duration};

use futures_util::future::select;
use parking_lot::{Mutex, RwLock};
use runtime::{Runtime, Shutdown};

use super::pem::{PemFile, Stamp};
use crate::Error;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Make<T> = Box<dyn Fn(&[PemFile]) -> Result<T, Error> + Send + Sync>;

/// Something made from files, made anew when they change. What cannot be made anew stays as it was.
pub(super) struct Reloaded<T> {
    files: Vec<PemFile>,
    make: Make<T>,
    current: RwLock<Arc<T>>,
    made_from: Mutex<Vec<Stamp>>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    pub(super) fn new(
        files: Vec<PemFile>,
        make: impl Fn(&[PemFile]) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        // Before they are read: what changes meanwhile is noticed later.
        let made_from = Mutex::new(stamps(&files));
        let current = RwLock::new(Arc::new(make(&files)?));
        Ok(Arc::new(Self { files, make: Box::new(make), current, made_from }))
    }

    pub(super) fn current(&self) -> Arc<T> {
        self.current.read().clone()
    }

    pub(super) fn files(&self) -> &[PemFile] {
        &self.files
    }

    /// Looks at the files, until `shutdown`.
    pub(super) fn follow(self: &Arc<Self>, runtime: &Runtime, shutdown: Shutdown) {
        let (reloaded, clock) = (self.clone(), runtime.clone());
        drop(runtime.spawn("certificates", async move {
            let mut said = None;
            while !shutdown.is_requested() {
                select(std::pin::pin!(shutdown.requested()), clock.sleep(LOOK_EVERY)).await;
                said = reloaded.look(said);
            }
        }));
    }

    /// One look. Returns what is wrong, which is said once: whoever replaces several files does so one after the other.
    fn look(&self, said: Option<String>) -> Option<String> {
        let stamps = stamps(&self.files);
        if *self.made_from.lock() == stamps {
            return None;
        }
        match (self.make)(&self.files) {
            Ok(made) => {
                *self.current.write() = Arc::new(made);
                *self.made_from.lock() = stamps;
                tracing::info!(settings = self.settings(), "files have changed: they hold for new connections");
                None
            }
            Err(error) => {
                let error = error.to_string();
                if said.as_ref() != Some(&error) {
                    tracing::warn!(%error, "files have changed and cannot be used: those before go on");
                }
                Some(error)
            }
        }
    }

    fn settings(&self) -> String {
        self.files.iter().map(|file| file.setting).collect::<Vec<_>>().join(", ")
    }
}

fn stamps(files: &[PemFile]) -> Vec<Stamp> {
    files.iter().map(PemFile::stamp).collect()
}

impl<T> std::fmt::Debug for Reloaded<T> {
    /// Without what was made, which may be a key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reloaded").field("files", &self.files).finish_non_exhaustive()
    }
}
