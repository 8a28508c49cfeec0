use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

/// One command as its client saw it, from when it was due to its last answer.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// The account it went to.
    pub(crate) account: String,
    /// When it should have been sent: a client that is late has waited, too.
    pub(crate) due: Instant,
    pub(crate) answered: Instant,
    /// Attempts that brought no outcome, each sent again under the same key.
    pub(crate) failures: Vec<Failure>,
    pub(crate) outcome: Outcome,
}

/// An attempt without an outcome.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) at: Instant,
    pub(crate) said: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Accepted(Accepted),
    /// The domain, or a rule of the interface, has said no: nothing is written.
    Refused(String),
    /// Nobody knows, however often it was asked.
    Unknown,
}

/// What an acknowledgement says.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) command: Uuid,
    pub(crate) positions: Vec<u64>,
    pub(crate) version: u64,
    /// The consistency token.
    pub(crate) token: String,
}

impl Operation {
    pub(crate) fn latency(&self) -> Duration {
        self.answered.saturating_duration_since(self.due)
    }

    pub(crate) fn accepted(&self) -> Option<&Accepted> {
        match &self.outcome {
            Outcome::Accepted(accepted) => Some(accepted),
            _ => None,
        }
    }
}

/// How long the commands took that were due within a span.
pub(crate) fn latencies(history: &[Operation], from: Instant, to: Instant) -> Vec<Duration> {
    history.iter().filter(|each| each.due >= from && each.due < to).map(Operation::latency).collect()
}

/// How often a command was sent without an outcome within a span.
pub(crate) fn failures(history: &[Operation], from: Instant, to: Instant) -> Vec<&Failure> {
    let all = history.iter().flat_map(|each| &each.failures);
    all.filter(|failure| failure.at >= from && failure.at < to).collect()
}

/// What failures said, how often, and when, counted from `began`.
pub(crate) fn described(failures: &[&Failure], began: Instant) -> String {
    let mut kinds = BTreeMap::<&str, Vec<f64>>::new();
    for failure in failures {
        let at = failure.at.saturating_duration_since(began).as_secs_f64();
        kinds.entry(&failure.said).or_default().push(at);
    }
    let kinds = kinds.into_iter().map(|(said, at)| {
        let (first, last) = (at.iter().copied().fold(f64::MAX, f64::min), at.iter().copied().fold(0.0, f64::max));
        format!("{} × {said} ({first:.1}–{last:.1} s)", at.len())
    });
    let said = kinds.collect::<Vec<_>>().join(", ");
    if said.is_empty() { "0".to_owned() } else { said }
}

/// How many commands were accepted within a span.
pub(crate) fn accepted(history: &[Operation], from: Instant, to: Instant) -> usize {
    history.iter().filter(|each| each.accepted().is_some() && each.answered >= from && each.answered < to).count()
}
