use std::sync::Arc;

use runtime::Runtime;
use wire::{Candidate, Instances, Sending, Standing};

use crate::{Instance, Metrics, RemoteLimits, instance::InFlight, picker::pick, remote::Remote};

/// The API Gateways that requests are spread over. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Gateways(pub(crate) Where);

#[derive(Clone, Debug)]
pub(crate) enum Where {
    /// In this process, always the same.
    Here(Arc<[Instance]>),
    /// In other processes. They come and go as their names are looked up.
    Elsewhere(Remote),
}

impl Gateways {
    /// Those of this process, which may become ready later.
    #[must_use]
    pub fn here(instances: Vec<Instance>) -> Self {
        Self(Where::Here(instances.into()))
    }

    /// Those in other processes, as `known` has them at any time. Whoever made that looks after their readiness.
    #[must_use]
    pub fn elsewhere(known: &Instances, runtime: &Runtime, metrics: &Metrics, limits: RemoteLimits) -> Self {
        Self(Where::Elsewhere(Remote::new(known.clone(), runtime.clone(), metrics.clone(), limits)))
    }

    /// Whether any takes requests.
    #[must_use]
    pub fn is_any_ready(&self) -> bool {
        let mut is_any = false;
        self.each(|_, standing| is_any |= standing.is_ready());
        is_any
    }

    /// Shows each by the name that its metrics bear.
    pub(crate) fn each(&self, mut show: impl FnMut(&str, &Standing)) {
        match &self.0 {
            Where::Here(instances) => instances.iter().for_each(|it| show(it.name(), it.standing())),
            Where::Elsewhere(remote) => {
                remote.known().iter().for_each(|it| show(&it.address().to_string(), it.standing()));
            }
        }
    }
}

impl From<Vec<Instance>> for Gateways {
    fn from(instances: Vec<Instance>) -> Self {
        Self::here(instances)
    }
}

/// The instance of this process for one more request, which counts there from now on.
pub(crate) fn enter_one_of(instances: &[Instance], runtime: &Runtime) -> Option<InFlight> {
    // Nobody here is ever ejected, so what could be sent again makes no difference.
    pick(instances, Sending::Once, None, runtime).map(|(instance, _)| instance.enter())
}
