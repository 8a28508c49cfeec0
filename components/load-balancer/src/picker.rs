use std::time::Duration;

use runtime::Runtime;
use wire::{Candidate, Part, Sending, Standing};

/// Chooses by power of two choices: of two healthy instances drawn at random, the one with fewer requests in flight. An
/// ejected one whose probe is due goes before them, and where none is healthy, the ejected ones that are ready serve. `None`
/// when none is ready. Never `except`. Time and chance are asked for only where they are needed.
///
/// The draw also has an order, and the first wins a tie, so that instances without load share evenly. No lock and no
/// allocation while none is ejected: the cost is a look at each one's flags and one random number.
pub(crate) fn pick<'a, T: Candidate>(
    instances: &'a [T],
    sending: Sending,
    except: Option<&Standing>,
    source: &impl Source,
) -> Option<(&'a T, Part)> {
    let others = || {
        let is_other = |it: &&T| !except.is_some_and(|except| std::ptr::eq(except, it.standing()));
        instances.iter().filter(is_other)
    };
    if others().any(|it| it.standing().is_ejected()) {
        let now = source.now();
        if let Some(probe) = others().find(|it| it.standing().begin_probe(now, sending)) {
            return Some((probe, Part::Probe));
        }
    }
    let healthy = || others().filter(|it| it.standing().is_healthy());
    if let Some(chosen) = less_busy(healthy, source) {
        return Some((chosen, Part::Ordinary));
    }
    less_busy(|| others().filter(|it| it.standing().is_ready()), source).map(|chosen| (chosen, Part::LastResort))
}

/// Where time and chance come from.
pub(crate) trait Source {
    fn now(&self) -> Duration;
    fn random(&self) -> u64;
}

impl Source for Runtime {
    fn now(&self) -> Duration {
        Self::now(self)
    }

    fn random(&self) -> u64 {
        self.random_u64()
    }
}

/// Of two drawn at random.
fn less_busy<'a, T: Candidate + 'a, I>(those: impl Fn() -> I, source: &impl Source) -> Option<&'a T>
where
    I: Iterator<Item = &'a T>,
{
    let count = those().count();
    if count < 2 {
        return those().next();
    }
    let (first, second) = two_of(count, source.random());
    // A flag may flip between the count and this look: then there are fewer than counted, and the first one serves.
    let first = those().nth(first).or_else(|| those().next())?;
    let second = those().nth(second).unwrap_or(first);
    Some(if second.standing().in_flight() < first.standing().in_flight() { second } else { first })
}

/// Two different numbers below `count`, every ordered pair equally likely. `count` is at least 2.
fn two_of(count: usize, random: u64) -> (usize, usize) {
    let first = scale(random >> 32, count);
    let second = scale(random & 0xffff_ffff, count - 1);
    (first, if second < first { second } else { second + 1 })
}

/// Maps 32 random bits to a number below `count` by multiplication, which costs less than a division.
fn scale(bits: u64, count: usize) -> usize {
    usize::try_from((bits * count as u64) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use proptest::prelude::*;
    use wire::{Instance, Instances, Verdict};

    use super::*;

    /// Instances whose state, and a clock whose time, are set by hand.
    struct Picking {
        known: Instances,
        now: Cell<Duration>,
        drawn: Cell<u64>,
    }

    impl Source for Picking {
        fn now(&self) -> Duration {
            self.now.get()
        }

        fn random(&self) -> u64 {
            self.drawn.set(self.drawn.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
            self.drawn.get()
        }
    }

    impl Picking {
        fn new(count: usize) -> Self {
            let addresses = (1..=count).map(|port| format!("127.0.0.1:{port}")).collect();
            let known = Instances::new(addresses).expect("addresses");
            known.known().iter().for_each(|it| assert!(it.standing().set_ready(true)));
            Self { known, now: Cell::default(), drawn: Cell::default() }
        }

        fn at(&self, place: usize) -> Arc<Instance> {
            self.known.known()[place].clone()
        }

        fn fail(&self, place: usize, times: usize) {
            for _ in 0..times {
                self.judge(place, Part::Ordinary, Verdict::Failed);
            }
        }

        fn pass(&self, time: Duration) {
            self.now.set(self.now.get() + time);
        }

        /// Where a request goes, and as what.
        fn pick(&self, sending: Sending) -> Option<(usize, Part)> {
            let known = self.known.known();
            let (chosen, part) = pick(&known, sending, None, self)?;
            Some((known.iter().position(|it| Arc::ptr_eq(it, chosen)).expect("it is one of them"), part))
        }

        fn judge(&self, place: usize, part: Part, verdict: Verdict) {
            self.known.begin(&self.at(place), part).judge(verdict, self.now.get());
        }
    }

    #[test]
    fn two_choices_are_never_the_same_and_always_in_range() {
        for count in 2..20_usize {
            for step in 0..10_000_u64 {
                let (first, second) = two_of(count, step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                assert!(first < count && second < count && first != second, "{first} and {second} of {count}");
            }
        }
    }

    #[test]
    fn an_instance_goes_out_is_probed_once_at_a_time_for_longer_each_time_and_comes_back() {
        let picking = Picking::new(3);
        picking.fail(0, 4);
        picking.judge(0, Part::Ordinary, Verdict::Well);
        picking.fail(0, 4);
        assert!((0..50).any(|_| picking.pick(Sending::Repeatable) == Some((0, Part::Ordinary))), "not five in a row");
        picking.fail(0, 1);
        for seconds in [1, 2, 4] {
            picking.pass(Duration::from_millis(seconds * 1000 - 1));
            for _ in 0..50 {
                let (place, part) = picking.pick(Sending::Repeatable).expect("two are left");
                assert!(place != 0 && part == Part::Ordinary, "after less than {seconds} s");
            }
            picking.pass(Duration::from_millis(1));
            assert_ne!(picking.pick(Sending::Once).map(|(place, _)| place), Some(0), "a probe may be lost");
            assert_eq!(picking.pick(Sending::Repeatable), Some((0, Part::Probe)), "after {seconds} s");
            assert!((0..50).all(|_| picking.pick(Sending::Repeatable).is_some_and(|(place, _)| place != 0)), "one");
            picking.judge(0, Part::Probe, Verdict::Failed);
        }
        picking.pass(Duration::from_secs(8));
        assert_eq!(picking.pick(Sending::Repeatable), Some((0, Part::Probe)));
        picking.judge(0, Part::Probe, Verdict::Well);
        assert!((0..50).any(|_| picking.pick(Sending::Once) == Some((0, Part::Ordinary))), "it is back");
    }

    #[test]
    fn a_probe_takes_any_request_where_none_comes_that_could_be_repeated() {
        let picking = Picking::new(2);
        picking.fail(1, 5);
        picking.pass(Duration::from_millis(5999));
        assert_eq!(picking.pick(Sending::Once), Some((0, Part::Ordinary)));
        picking.pass(Duration::from_millis(1));
        assert_eq!(picking.pick(Sending::Once), Some((1, Part::Probe)));
    }

    #[test]
    fn where_none_is_healthy_the_ejected_ones_serve_and_none_that_is_not_ready() {
        let picking = Picking::new(2);
        picking.fail(0, 5);
        picking.at(1).standing().set_ready(false);
        assert_eq!(picking.pick(Sending::Once), Some((0, Part::LastResort)));
        picking.at(0).standing().set_ready(false);
        assert_eq!(picking.pick(Sending::Once), None);
    }

    proptest! {
        #[test]
        fn an_ejected_instance_is_never_picked_while_another_one_is_healthy_but_for_its_probe(
            steps in proptest::collection::vec((0..4_usize, 0..5_u8, 0..3000_u64), 1..60),
            count in 1..5_usize,
        ) {
            let picking = Picking::new(count);
            let mut probed = vec![false; count];
            for (place, step, milliseconds) in steps {
                let place = place % count;
                match step {
                    0 => picking.fail(place, 5),
                    1 => { picking.at(place).standing().set_ready(false); }
                    2 => { picking.at(place).standing().set_ready(true); }
                    3 => picking.pass(Duration::from_millis(milliseconds)),
                    _ => if std::mem::take(&mut probed[place]) {
                        let verdict = [Verdict::Well, Verdict::Failed, Verdict::Nothing][milliseconds as usize % 3];
                        picking.judge(place, Part::Probe, verdict);
                    },
                }
                let known = picking.known.known();
                let is_any_healthy = known.iter().any(|it| it.standing().is_healthy());
                let is_any_ready = known.iter().any(|it| it.standing().is_ready());
                match picking.pick(Sending::Repeatable) {
                    None => prop_assert!(!is_any_ready),
                    Some((place, Part::Ordinary)) => prop_assert!(known[place].standing().is_healthy()),
                    Some((place, Part::LastResort)) => {
                        prop_assert!(!is_any_healthy && known[place].standing().is_ready());
                    }
                    Some((place, Part::Probe)) => {
                        prop_assert!(known[place].standing().is_ready() && known[place].standing().is_ejected());
                        prop_assert!(!std::mem::replace(&mut probed[place], true), "one at a time");
                    }
                }
            }
        }
    }
}
