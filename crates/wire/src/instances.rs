use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use crate::{Attempt, Candidate, ClientTls, EjectionLimits, Error, Instance, Part, Sending};

/// The instances of a role: named by addresses or DNS names, which are looked up again and again, and asked whether they are
/// ready. Those that fail are ejected for a while. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Instances {
    inner: Arc<Inner>,
    /// How they are called; in plain text, and so on this machine only, where there is none.
    tls: Option<ClientTls>,
}

#[derive(Debug)]
struct Inner {
    names: Vec<String>,
    limits: EjectionLimits,
    known: RwLock<Arc<[Arc<Instance>]>>,
    /// Held while it is decided whether one more may be ejected.
    ejecting: Mutex<()>,
    turn: AtomicUsize,
}

/// How one is chosen of those that are healthy.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The one to which the key belongs (rendezvous hashing): callers who know nothing of each other choose the same one, and
    /// only the keys of one that is gone move.
    Key(&'a [u8]),
    /// Another one each time.
    Turn,
}

impl Instances {
    /// Those at these addresses, `HOST:PORT` each. Names are looked up here for the first time, which may block; one that is
    /// not found yet is looked up again later.
    ///
    /// # Errors
    /// [`Error::NoInstance`], [`Error::Address`].
    pub fn new(names: Vec<String>) -> Result<Self, Error> {
        Self::with_ejection(names, EjectionLimits::default())
    }

    /// As [`Instances::new`], with other limits than the usual ones.
    ///
    /// # Errors
    /// As [`Instances::new`].
    pub fn with_ejection(names: Vec<String>, limits: EjectionLimits) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::NoInstance);
        }
        for name in &names {
            let port = name.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                return Err(Error::Address { address: name.clone() });
            }
        }
        let addresses = names.iter().filter_map(|name| name.to_socket_addrs().ok()).flatten().collect();
        let inner =
            Inner { names, limits, known: RwLock::default(), ejecting: Mutex::default(), turn: AtomicUsize::new(0) };
        let instances = Self { inner: Arc::new(inner), tls: None };
        instances.found(addresses);
        Ok(instances)
    }

    /// The same, called under TLS.
    #[must_use]
    pub fn under_tls(self, tls: ClientTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub(crate) fn tls(&self) -> Option<ClientTls> {
        self.tls.clone()
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.inner.names
    }

    /// What the names stand for by now. Those that stay keep what is known of them; what is under way at others goes on.
    pub(crate) fn found(&self, mut addresses: Vec<SocketAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        let mut known = self.inner.known.write();
        let before = |address| known.iter().find(|instance| instance.address() == address).cloned();
        let new = |address| Arc::new(Instance::new(address, self.inner.limits));
        *known = addresses.into_iter().map(|address| before(address).unwrap_or_else(|| new(address))).collect();
    }

    /// Those that are known at this moment, in the order of their addresses.
    #[must_use]
    pub fn known(&self) -> Arc<[Arc<Instance>]> {
        self.inner.known.read().clone()
    }

    /// How many are known to be ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.known().iter().filter(|instance| instance.standing().is_ready()).count()
    }

    /// Begins a request at one of those that are known.
    #[must_use]
    pub fn begin(&self, instance: &Arc<Instance>, part: Part) -> Attempt {
        Attempt::new(self.clone(), instance.clone(), part)
    }

    /// Chooses one for a request, and begins it there: a healthy one, or an ejected one whose probe is due; where there is
    /// none, one that is ejected, or else one that is not ready, since what is known of it may be old. Never `except`.
    #[must_use]
    pub fn choose(&self, by: By<'_>, sending: Sending, except: Option<&Instance>, now: Duration) -> Option<Attempt> {
        let known = self.known();
        let turn = match by {
            By::Turn => self.inner.turn.fetch_add(1, Ordering::Relaxed),
            By::Key(_) => 0,
        };
        let rank = |(place, instance): &(usize, &Arc<Instance>)| match by {
            By::Key(key) => instance.weight(key),
            By::Turn => u64::MAX - (place + known.len() - turn % known.len()) as u64 % known.len() as u64,
        };
        let others =
            || known.iter().enumerate().filter(|(_, other)| !except.is_some_and(|it| std::ptr::eq(it, &***other)));
        let takes = |instance: &Instance| {
            let standing = instance.standing();
            standing.is_healthy() || standing.is_probe_due(now, sending)
        };
        let best = others().filter(|(_, instance)| takes(instance)).max_by_key(rank);
        if let Some((_, best)) = best {
            if best.standing().is_healthy() {
                return Some(self.begin(best, Part::Ordinary));
            }
            if best.standing().begin_probe(now, sending) {
                return Some(self.begin(best, Part::Probe));
            }
        }
        let (_, best) = others().max_by_key(|other| {
            let standing = other.1.standing();
            (standing.is_healthy(), standing.is_ready(), rank(other))
        })?;
        let part = if best.standing().is_ejected() { Part::LastResort } else { Part::Ordinary };
        Some(self.begin(best, part))
    }

    /// Has an ejection decided, with the answer to whether enough others are left.
    pub(crate) fn ejecting(&self, decide: impl FnOnce(bool) -> bool) -> bool {
        let _one_at_a_time = self.inner.ejecting.lock();
        let known = self.known();
        let ejected = known.iter().filter(|instance| instance.standing().is_ejected()).count();
        decide((ejected + 1) * 100 <= known.len() * self.inner.limits.share_max_percent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Verdict;

    const NOW: Duration = Duration::from_secs(100);

    /// All of them ready.
    fn instances(ports: std::ops::RangeInclusive<u16>) -> Instances {
        let instances = Instances::new(ports.map(|port| format!("127.0.0.1:{port}")).collect()).expect("addresses");
        instances.known().iter().for_each(|instance| assert!(instance.standing().set_ready(true)));
        instances
    }

    fn chosen(instances: &Instances, by: By<'_>, sending: Sending) -> (u16, Part) {
        let attempt = instances.choose(by, sending, None, NOW).expect("one is known");
        (attempt.instance().address().port(), attempt.part())
    }

    fn by_key(instances: &Instances, key: usize) -> u16 {
        chosen(instances, By::Key(key.to_string().as_bytes()), Sending::Once).0
    }

    fn at(instances: &Instances, port: u16) -> Arc<Instance> {
        let known = instances.known();
        known.iter().find(|instance| instance.address().port() == port).expect("it is known").clone()
    }

    fn fails(instances: &Instances, port: u16, times: usize) {
        for _ in 0..times {
            instances.begin(&at(instances, port), Part::Ordinary).judge(Verdict::Failed, NOW);
        }
    }

    fn ejected(instances: &Instances) -> Vec<u16> {
        let known = instances.known();
        known.iter().filter(|it| it.standing().is_ejected()).map(|it| it.address().port()).collect()
    }

    #[test]
    fn keys_spread_evenly_and_only_those_of_a_missing_instance_move() {
        let all = instances(1..=3);
        let before: Vec<u16> = (0..3000).map(|key| by_key(&all, key)).collect();
        for port in 1..=3 {
            let share = before.iter().filter(|chosen| **chosen == port).count();
            assert!((900..1100).contains(&share), "{port} has {share} of 3000");
        }
        at(&all, 2).standing().set_ready(false);
        for (key, before) in before.into_iter().enumerate() {
            let now = by_key(&all, key);
            assert!(if before == 2 { now != 2 } else { now == before }, "{key}: {before}, then {now}");
        }
        for port in [1, 3] {
            at(&all, port).standing().set_ready(false);
        }
        assert!((0..100).any(|key| by_key(&all, key) == 2), "it is tried when no other one is ready");
    }

    #[test]
    fn turns_go_round_those_that_are_healthy() {
        let all = instances(1..=4);
        at(&all, 2).standing().set_ready(false);
        fails(&all, 3, 5);
        let chosen: Vec<u16> = (0..8).map(|_| chosen(&all, By::Turn, Sending::Once).0).collect();
        assert!([1, 4].iter().all(|port| chosen.contains(port)) && ![2, 3].iter().any(|port| chosen.contains(port)));
    }

    #[test]
    fn the_second_choice_is_another_one_and_there_is_none_of_a_single_one() {
        let (pair, alone) = (instances(1..=2), instances(1..=1));
        for key in 0..20_usize {
            let key = key.to_be_bytes();
            let first = pair.choose(By::Key(&key), Sending::Once, None, NOW).expect("one");
            let second = pair.choose(By::Key(&key), Sending::Once, Some(first.instance()), NOW).expect("the other one");
            assert_ne!(first.instance().address(), second.instance().address());
        }
        assert!(alone.choose(By::Turn, Sending::Once, Some(&*at(&alone, 1)), NOW).is_none());
    }

    #[test]
    fn at_most_half_are_ejected_and_never_the_only_one() {
        for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let all = instances(1..=count);
            (1..=count).for_each(|port| fails(&all, port, 20));
            assert_eq!(ejected(&all).len(), most, "of {count}");
        }
    }

    #[test]
    fn one_request_at_a_time_probes_an_ejected_instance_and_brings_it_back() {
        let all = instances(1..=2);
        fails(&all, 1, 5);
        let choose = |sending, seconds| {
            (0..2)
                .map(|_| all.choose(By::Turn, sending, None, NOW + Duration::from_secs(seconds)).expect("one"))
                .collect()
        };
        let parts = |attempts: &[Attempt]| attempts.iter().filter(|it| it.part() == Part::Probe).count();
        let early: Vec<Attempt> = choose(Sending::Repeatable, 0);
        assert_eq!(parts(&early), 0);
        let not_repeatable: Vec<Attempt> = choose(Sending::Once, 1);
        assert_eq!(parts(&not_repeatable), 0);
        let mut due: Vec<Attempt> = choose(Sending::Repeatable, 1);
        assert_eq!(parts(&due), 1);
        let probe = due.iter_mut().find(|it| it.part() == Part::Probe).expect("one");
        probe.judge(Verdict::Nothing, NOW);
        assert_eq!(ejected(&all), [1], "an answer that says nothing leaves it open");
        drop(due);
        let mut due: Vec<Attempt> = choose(Sending::Repeatable, 1);
        let probe = due.iter_mut().find(|it| it.part() == Part::Probe).expect("the next one");
        probe.judge(Verdict::Well, NOW);
        assert!(ejected(&all).is_empty());
    }

    #[test]
    fn an_instance_that_serves_as_the_last_resort_is_back_once_it_does_so_well() {
        let all = instances(1..=2);
        fails(&all, 1, 5);
        at(&all, 2).standing().set_ready(false);
        let choose = || all.choose(By::Turn, Sending::Once, None, NOW).expect("one");
        let mut last_resort = choose();
        assert_eq!((last_resort.instance().address().port(), last_resort.part()), (1, Part::LastResort));
        last_resort.judge(Verdict::Failed, NOW);
        assert_eq!(ejected(&all), [1]);
        choose().judge(Verdict::Well, NOW);
        assert!(ejected(&all).is_empty());
    }

    #[test]
    fn names_are_looked_up_at_once_and_those_that_stay_keep_what_is_known_of_them() {
        let named = Instances::new(vec!["localhost:7".to_owned()]).expect("an address");
        let known = named.known();
        assert!(!known.is_empty() && known.iter().all(|it| it.address().ip().is_loopback()), "{known:?}");
        let all = instances(1..=2);
        fails(&all, 2, 5);
        all.found([2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).into());
        assert_eq!(ejected(&all), [2]);
        let ready: Vec<bool> = all.known().iter().map(|it| it.standing().is_ready()).collect();
        assert_eq!(ready, [true, false], "one that nobody asked yet is not ready");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for name in ["", "here", "here:", ":80", "here:0", "here:99999", "[::1]"] {
            assert!(Instances::new(vec![name.to_owned()]).is_err(), "{name:?}");
        }
        assert!(Instances::new(vec!["localhost:80".to_owned(), "[::1]:80".to_owned()]).is_ok());
        assert!(Instances::new(Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn an_ejected_instance_is_never_chosen_while_another_one_is_healthy(
            states in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..8),
            keys in proptest::collection::vec(any::<u64>(), 1..20),
            seconds in 0..3_u64,
            repeatable: bool,
        ) {
            let all = instances(1..=u16::try_from(states.len()).expect("few"));
            for (instance, (is_ready, fails_all)) in all.known().iter().zip(&states) {
                instance.standing().set_ready(*is_ready);
                if *fails_all {
                    fails(&all, instance.address().port(), 5);
                }
            }
            let sending = if repeatable { Sending::Repeatable } else { Sending::Once };
            let now = NOW + Duration::from_secs(seconds);
            let is_any_healthy = all.known().iter().any(|it| it.standing().is_healthy());
            let mut probes = Vec::new();
            for key in keys {
                for by in [By::Key(&key.to_be_bytes()), By::Turn] {
                    let attempt = all.choose(by, sending, None, now).expect("one is known");
                    if attempt.part() == Part::Probe {
                        prop_assert!(repeatable && seconds >= 1, "before its time");
                        prop_assert!(!probes.iter().any(|it: &Attempt| std::ptr::eq(&**it.instance(), &**attempt.instance())));
                        probes.push(attempt);
                    } else if is_any_healthy {
                        prop_assert!(attempt.instance().standing().is_healthy(), "{attempt:?}");
                    }
                }
            }
        }
    }
}
