use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    EjectionLimits, Instances, Sending, Skew,
    ejection::Ejection,
    weight::{self, FNV_BASIS},
};

/// One instance of a role, in another process.
#[derive(Debug)]
pub struct Instance {
    address: SocketAddr,
    /// Of the address, which a key's weight with it begins from.
    hash: u64,
    standing: Standing,
    skew: Skew,
}

impl Instance {
    /// One that nobody asked yet is not ready: whoever has no other tries it all the same.
    pub(crate) fn new(address: SocketAddr, limits: EjectionLimits) -> Self {
        let hash = weight::fnv(FNV_BASIS, address.to_string().as_bytes());
        Self { address, hash, standing: Standing::new(false, limits), skew: Skew::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How far its clock is ahead of ours at least.
    #[must_use]
    pub fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Of a key with it. The one with the greatest has the key (rendezvous hashing).
    pub(crate) fn weight(&self, key: &[u8]) -> u64 {
        weight::mixed(weight::fnv(self.hash, key))
    }
}

/// What can be chosen for a request.
pub trait Candidate {
    /// What is known of it.
    fn standing(&self) -> &Standing;
}

impl Candidate for Instance {
    fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl<C: Candidate> Candidate for Arc<C> {
    fn standing(&self) -> &Standing {
        (**self).standing()
    }
}

/// What those who choose know of an instance: whether it is ready, whether it is ejected, what it has in hand.
#[derive(Debug)]
pub struct Standing {
    is_ready: AtomicBool,
    /// As `ejection` has it, for those who choose: they take no lock while nobody fails.
    is_ejected: AtomicBool,
    in_flight: AtomicUsize,
    ejection: Mutex<Ejection>,
}

impl Standing {
    /// Of an instance that has failed nobody.
    #[must_use]
    pub fn new(is_ready: bool, limits: EjectionLimits) -> Self {
        Self {
            is_ready: AtomicBool::new(is_ready),
            is_ejected: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            ejection: Mutex::new(Ejection::new(limits)),
        }
    }

    /// Whether it takes requests, as far as is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// Notes whether it takes requests. True where that is news.
    pub fn set_ready(&self, is_ready: bool) -> bool {
        self.is_ready.swap(is_ready, Ordering::Relaxed) != is_ready
    }

    /// Whether it is left out for its failures.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.is_ejected.load(Ordering::Relaxed)
    }

    /// Whether it is ready and not ejected.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_ready() && !self.is_ejected()
    }

    /// Requests whose answer has not come to its end.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request more.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_probe_due(&self, now: Duration, sending: Sending) -> bool {
        self.is_ready() && self.is_ejected() && self.ejection.lock().is_due(now, sending)
    }

    /// Takes the one place of a probe, where it is due and free. Whoever has it is to begin with [`Part::Probe`].
    pub fn begin_probe(&self, now: Duration, sending: Sending) -> bool {
        self.is_ready() && self.is_ejected() && self.ejection.lock().begin_probe(now, sending)
    }

    /// Changes what is known of its failures. Returns whether that ejected it or brought it back.
    fn note(&self, change: impl FnOnce(&mut Ejection)) -> bool {
        let mut ejection = self.ejection.lock();
        change(&mut ejection);
        let is_ejected = ejection.is_ejected();
        self.is_ejected.swap(is_ejected, Ordering::Relaxed) != is_ejected
    }
}

/// What a request is to its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One of many.
    Ordinary,
    /// By which an ejected instance shows whether it is well again. Begun by [`Standing::begin_probe`].
    Probe,
    /// It goes to an ejected instance because there is no other.
    LastResort,
}

/// What a request's end says about its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does its work.
    Well,
    /// It does not.
    Failed,
    /// Nothing.
    Nothing,
}

/// One request's time at an instance. It is in flight until this is dropped.
#[derive(Debug)]
pub struct Attempt {
    instances: Instances,
    instance: Arc<Instance>,
    part: Part,
}

impl Attempt {
    pub(crate) fn new(instances: Instances, instance: Arc<Instance>, part: Part) -> Self {
        instance.standing.enter();
        Self { instances, instance, part }
    }

    /// At which instance.
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// What it is to the instance.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// Notes what its end says. What happens after that is an ordinary request's.
    pub fn judge(&mut self, verdict: Verdict, now: Duration) {
        let standing = &self.instance.standing;
        if verdict == Verdict::Nothing {
            return;
        }
        let is_news = match (verdict, std::mem::replace(&mut self.part, Part::Ordinary)) {
            (Verdict::Nothing, _) | (Verdict::Failed, Part::LastResort) => false,
            (Verdict::Well, Part::Ordinary) => standing.note(Ejection::succeeded),
            (Verdict::Well, Part::Probe | Part::LastResort) => standing.note(|ejection| ejection.probe_succeeded(now)),
            (Verdict::Failed, Part::Probe) => {
                standing.note(|ejection| ejection.probe_failed(now));
                false
            }
            (Verdict::Failed, Part::Ordinary) => self
                .instances
                .ejecting(|others_are_left| standing.note(|ejection| ejection.failed(now, others_are_left))),
        };
        match (is_news, verdict) {
            (true, Verdict::Failed) => {
                tracing::warn!(instance = %self.instance.address, "an instance is ejected: it fails what it is asked");
            }
            (true, _) => tracing::info!(instance = %self.instance.address, "an ejected instance is back"),
            (false, _) => {}
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.instance.standing.leave();
        if self.part == Part::Probe {
            self.instance.standing.note(Ejection::end_probe);
        }
    }
}
