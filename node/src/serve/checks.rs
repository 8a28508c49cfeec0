use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// What has to be so before this process can do its part. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Checks {
    inner: Arc<Mutex<Inner>>,
}

type Look = Box<dyn Fn() -> bool + Send>;

#[derive(Default)]
struct Inner {
    noted: BTreeMap<String, bool>,
    looked_at: BTreeMap<String, Look>,
    is_draining: bool,
}

impl Checks {
    /// Notes whether something is there.
    pub(super) fn note(&self, name: impl Into<String>, is_there: bool) {
        self.inner.lock().noted.insert(name.into(), is_there);
    }

    /// Has something looked at whenever it is asked for.
    pub(super) fn look(&self, name: impl Into<String>, look: impl Fn() -> bool + Send + 'static) {
        self.inner.lock().looked_at.insert(name.into(), Box::new(look));
    }

    /// From now on nothing is ready any more.
    pub(super) fn drain(&self) {
        self.inner.lock().is_draining = true;
    }

    /// Whether this process is about to end.
    pub(super) fn is_draining(&self) -> bool {
        self.inner.lock().is_draining
    }

    pub(super) fn all(&self) -> Vec<(String, bool)> {
        let inner = self.inner.lock();
        let noted = inner.noted.iter().map(|(name, is_there)| (name.clone(), *is_there));
        noted.chain(inner.looked_at.iter().map(|(name, look)| (name.clone(), look()))).collect()
    }
}
