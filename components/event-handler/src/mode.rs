//! When the queue is relied on, and when the log is read instead. Pure: what was seen goes in, a switch comes out.

use std::time::Duration;

use serde::Serialize;

/// Where the process gets its events from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From the queue.
    Queue,
    /// From the queue, which is silent although the log has more: one read of the log will tell.
    Suspect,
    /// From the log: the queue is out.
    Direct,
    /// From the log, while the queue brings messages again and is watched.
    Probing,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Queue, Self::Suspect, Self::Direct, Self::Probing];

    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Suspect => "suspect",
            Self::Direct => "direct",
            Self::Probing => "probing",
        }
    }
}

/// Why a mode was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The log has more, and the queue brought nothing for too long.
    Silent,
    /// The log does have what the queue did not bring.
    Confirmed,
    /// The queue brought something after all.
    Arrived,
    /// A first message came through the queue again.
    Canary,
    /// The queue has worked for long enough.
    Steady,
}

impl Reason {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Confirmed => "confirmed",
            Self::Arrived => "arrived",
            Self::Canary => "canary",
            Self::Steady => "steady",
        }
    }
}

/// Limits of the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) suspect_after: Duration,
    pub(crate) probing_min: Duration,
    pub(crate) probing_batches_min: u32,
}

/// What is known at one moment. Times are spans that end at that moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    /// For how long the log has been known to have more than was received, with the loop there to receive it; `None`
    /// while it has not.
    pub(crate) behind_for: Option<Duration>,
    /// Whether the queue brought something since the mode was entered.
    pub(crate) heard: bool,
    /// How long it brought nothing, at most for as long as it could have been heard.
    pub(crate) silent_for: Duration,
    /// Whether a read of the log, in [`Mode::Suspect`], found something that the queue had not brought.
    pub(crate) log_has_more: bool,
    /// How long the mode lasts.
    pub(crate) in_mode_for: Duration,
    /// Batches that the queue brought in order and without holes, the last ones since the mode was entered.
    pub(crate) batches_in_order: u32,
    /// Whether the queue has brought what the log had a moment ago: relying on it makes nothing staler.
    pub(crate) queue_is_close: bool,
    /// Whether the queue has brought all that the log is known to have.
    pub(crate) queue_at_head: bool,
}

/// The mode to change to, if any.
pub(crate) fn decide(mode: Mode, seen: &Observed, limits: &Limits) -> Option<(Mode, Reason)> {
    let overdue = seen.behind_for.is_some_and(|span| span >= limits.suspect_after);
    let silent = overdue && seen.silent_for >= limits.suspect_after;
    match mode {
        Mode::Queue if silent => Some((Mode::Suspect, Reason::Silent)),
        Mode::Suspect if seen.heard => Some((Mode::Queue, Reason::Arrived)),
        Mode::Suspect if seen.log_has_more => Some((Mode::Direct, Reason::Confirmed)),
        // What made it suspect came by another way.
        Mode::Suspect if seen.behind_for.is_none() => Some((Mode::Queue, Reason::Arrived)),
        Mode::Direct if seen.heard => Some((Mode::Probing, Reason::Canary)),
        Mode::Probing if silent => Some((Mode::Direct, Reason::Silent)),
        Mode::Probing if steady(seen, limits) => Some((Mode::Queue, Reason::Steady)),
        _ => None,
    }
}

fn steady(seen: &Observed, limits: &Limits) -> bool {
    // Where nothing is written there is no third batch: all that there is having come is as good.
    let in_order = seen.batches_in_order >= limits.probing_batches_min && seen.queue_is_close;
    let proven = in_order || seen.queue_at_head;
    seen.in_mode_for >= limits.probing_min && proven
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        suspect_after: Duration::from_millis(100),
        probing_min: Duration::from_secs(2),
        probing_batches_min: 3,
    };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn behind(behind_for: u64, silent_for: u64) -> Observed {
        Observed { behind_for: Some(ms(behind_for)), silent_for: ms(silent_for), ..Observed::default() }
    }

    #[test]
    fn a_queue_is_suspected_only_when_the_log_has_more_and_it_was_silent_for_long_enough() {
        for (seen, suspected) in [
            (behind(100, 100), true),
            (behind(99, 5000), false),
            (behind(5000, 99), false),
            (Observed { silent_for: ms(5000), ..Observed::default() }, false),
        ] {
            let expected = suspected.then_some((Mode::Suspect, Reason::Silent));
            assert_eq!(decide(Mode::Queue, &seen, &LIMITS), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_suspicion_ends_by_what_the_log_or_the_queue_shows() {
        let more = Observed { log_has_more: true, ..behind(110, 110) };
        assert_eq!(decide(Mode::Suspect, &more, &LIMITS), Some((Mode::Direct, Reason::Confirmed)));
        let heard = Observed { heard: true, ..behind(110, 0) };
        assert_eq!(decide(Mode::Suspect, &heard, &LIMITS), Some((Mode::Queue, Reason::Arrived)));
        assert_eq!(decide(Mode::Suspect, &behind(110, 110), &LIMITS), None);
        assert_eq!(decide(Mode::Suspect, &Observed::default(), &LIMITS), Some((Mode::Queue, Reason::Arrived)));
    }

    #[test]
    fn the_log_is_read_until_a_message_comes_through_the_queue() {
        let quiet = Observed { in_mode_for: ms(60_000), queue_at_head: true, ..Observed::default() };
        assert_eq!(decide(Mode::Direct, &quiet, &LIMITS), None);
        let canary = Observed { heard: true, ..quiet };
        assert_eq!(decide(Mode::Direct, &canary, &LIMITS), Some((Mode::Probing, Reason::Canary)));
    }

    #[test]
    fn the_queue_is_relied_on_again_after_batches_in_order_and_some_time() {
        for (milliseconds, batches, is_close, at_head, relied_on) in [
            (1999, 50, true, true, false),
            (2000, 2, true, false, false),
            (2000, 3, true, false, true),
            (2000, 1, true, true, true),
            (2000, 50, false, false, false),
            (60_000, 0, true, false, false),
        ] {
            let seen = Observed {
                in_mode_for: ms(milliseconds),
                batches_in_order: batches,
                queue_is_close: is_close,
                queue_at_head: at_head,
                ..Observed::default()
            };
            let expected = relied_on.then_some((Mode::Queue, Reason::Steady));
            assert_eq!(decide(Mode::Probing, &seen, &LIMITS), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_queue_that_falls_silent_while_it_is_watched_is_out_again() {
        assert_eq!(decide(Mode::Probing, &behind(150, 120), &LIMITS), Some((Mode::Direct, Reason::Silent)));
    }
}
