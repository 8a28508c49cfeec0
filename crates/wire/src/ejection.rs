//! When an instance that fails is left out, and how it comes back. Pure: whoever asks brings the time.

use std::time::Duration;

/// When an instance is ejected, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct EjectionLimits {
    /// Failures in a row after which it is ejected.
    pub failures_max: u32,
    /// How long the first time. Each further time lasts twice as long as the one before.
    pub time_first: Duration,
    /// How long at the most. An instance that did well for as long begins with `time_first` again.
    pub time_max: Duration,
    /// Most instances that are ejected at a time, in percent of those that are known.
    pub share_max_percent: usize,
    /// How long a probe waits for a request that may be sent again, before it takes any.
    pub probe_wait_max: Duration,
}

impl Default for EjectionLimits {
    fn default() -> Self {
        Self {
            failures_max: 5,
            time_first: Duration::from_secs(1),
            time_max: Duration::from_secs(60),
            share_max_percent: 50,
            probe_wait_max: Duration::from_secs(5),
        }
    }
}

/// Whether a request may be sent again where its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It may: it only reads, or bears a key by which it is known again.
    Repeatable,
    /// It may not.
    Once,
}

/// What is known of an instance's failures.
#[derive(Debug)]
pub(crate) struct Ejection {
    limits: EjectionLimits,
    /// In a row.
    failures: u32,
    /// Since it last did well for long.
    times: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    In {
        since: Duration,
    },
    /// Half-open once the time is over: one request at a time probes whether it is well again.
    Out {
        until: Duration,
        is_probed: bool,
    },
}

impl Ejection {
    pub(crate) fn new(limits: EjectionLimits) -> Self {
        Self { limits, failures: 0, times: 0, state: State::In { since: Duration::ZERO } }
    }

    pub(crate) fn is_ejected(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// A request failed. What began before an ejection and fails during it says nothing new.
    pub(crate) fn failed(&mut self, now: Duration, others_are_left: bool) {
        if let State::In { since } = self.state {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= self.limits.failures_max && others_are_left {
                if now.saturating_sub(since) >= self.limits.time_max {
                    self.times = 0;
                }
                self.eject(now);
            }
        }
    }

    /// A request was answered well. During an ejection only a probe's answer counts.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn probe_failed(&mut self, now: Duration) {
        if self.is_ejected() {
            self.eject(now);
        }
    }

    pub(crate) fn probe_succeeded(&mut self, now: Duration) {
        self.failures = 0;
        if self.is_ejected() {
            self.state = State::In { since: now };
        }
    }

    /// Whether a request may probe.
    pub(crate) fn is_due(&self, now: Duration, sending: Sending) -> bool {
        let wait = match sending {
            Sending::Repeatable => Duration::ZERO,
            Sending::Once => self.limits.probe_wait_max,
        };
        matches!(self.state, State::Out { until, is_probed: false } if now >= until + wait)
    }

    /// Begins a probe, if one is due. No other one begins before it has ended.
    pub(crate) fn begin_probe(&mut self, now: Duration, sending: Sending) -> bool {
        let is_due = self.is_due(now, sending);
        if let State::Out { is_probed, .. } = &mut self.state
            && is_due
        {
            *is_probed = true;
        }
        is_due
    }

    /// A probe ended without having found out anything.
    pub(crate) fn end_probe(&mut self) {
        if let State::Out { is_probed, .. } = &mut self.state {
            *is_probed = false;
        }
    }

    fn eject(&mut self, now: Duration) {
        let doubled = 2_u32.saturating_pow(self.times);
        let time = self.limits.time_first.saturating_mul(doubled).min(self.limits.time_max);
        self.times = self.times.saturating_add(1);
        self.failures = 0;
        self.state = State::Out { until: now + time, is_probed: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EjectionLimits = EjectionLimits {
        failures_max: 3,
        time_first: Duration::from_secs(1),
        time_max: Duration::from_secs(8),
        share_max_percent: 50,
        probe_wait_max: Duration::from_secs(5),
    };

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn ejected_at(now: Duration) -> Ejection {
        let mut ejection = Ejection::new(LIMITS);
        (0..LIMITS.failures_max).for_each(|_| ejection.failed(now, true));
        assert!(ejection.is_ejected());
        ejection
    }

    #[test]
    fn only_failures_in_a_row_eject() {
        use Step::{Failed, Well};
        enum Step {
            Failed,
            Well,
        }
        for (steps, is_ejected) in [
            (vec![Failed, Failed], false),
            (vec![Failed, Failed, Failed], true),
            (vec![Failed, Failed, Well, Failed, Failed], false),
            (vec![Well, Failed, Failed, Failed], true),
            // An answer to a request from before does not take it back.
            (vec![Failed, Failed, Failed, Well], true),
        ] {
            let (mut ejection, count) = (Ejection::new(LIMITS), steps.len());
            for step in steps {
                match step {
                    Failed => ejection.failed(at(1), true),
                    Well => ejection.succeeded(),
                }
            }
            assert_eq!(ejection.is_ejected(), is_ejected, "{count} steps");
        }
    }

    #[test]
    fn the_last_one_that_is_left_is_not_ejected_before_another_one_is_back() {
        let mut ejection = Ejection::new(LIMITS);
        (0..10).for_each(|_| ejection.failed(at(1), false));
        assert!(!ejection.is_ejected());
        ejection.failed(at(2), true);
        assert!(ejection.is_ejected());
    }

    #[test]
    fn a_probe_is_due_once_the_time_is_over_and_one_at_a_time() {
        let mut ejection = ejected_at(at(500));
        for (now, sending, is_due) in [
            (500, Sending::Repeatable, false),
            (1499, Sending::Repeatable, false),
            (1500, Sending::Repeatable, true),
            (1500, Sending::Once, false),
            (6499, Sending::Once, false),
            (6500, Sending::Once, true),
        ] {
            assert_eq!(ejection.is_due(at(now), sending), is_due, "{now} ms, {sending:?}");
        }
        assert!(ejection.begin_probe(at(1500), Sending::Repeatable));
        assert!(!ejection.begin_probe(at(9000), Sending::Once), "one is under way");
        ejection.end_probe();
        assert!(ejection.begin_probe(at(1500), Sending::Repeatable), "it found out nothing");
        ejection.probe_succeeded(at(1600));
        assert!(!ejection.is_ejected() && !ejection.is_due(at(9000), Sending::Repeatable));
    }

    #[test]
    fn each_probe_that_fails_doubles_the_time_up_to_its_limit() {
        let mut ejection = ejected_at(at(0));
        let mut now = at(0);
        for seconds in [1, 2, 4, 8, 8, 8] {
            now += Duration::from_secs(seconds);
            assert!(!ejection.is_due(now - at(1), Sending::Repeatable), "{seconds} s");
            assert!(ejection.begin_probe(now, Sending::Repeatable), "{seconds} s");
            ejection.probe_failed(now);
        }
    }

    #[test]
    fn an_instance_that_relapses_is_out_for_longer_and_one_that_did_well_for_long_is_not() {
        for (well_for, expected) in [(7999, 2000), (8000, 1000)] {
            let mut ejection = ejected_at(at(0));
            assert!(ejection.begin_probe(at(1000), Sending::Repeatable));
            ejection.probe_succeeded(at(1000));
            let relapse = at(1000 + well_for);
            (0..LIMITS.failures_max).for_each(|_| ejection.failed(relapse, true));
            let back = relapse + at(expected);
            assert!(!ejection.is_due(back - at(1), Sending::Repeatable), "after {well_for} ms");
            assert!(ejection.is_due(back, Sending::Repeatable), "after {well_for} ms");
        }
    }
}
