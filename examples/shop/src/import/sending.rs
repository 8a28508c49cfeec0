use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use diptych::model::{Hash, encode_part};
use http::HeaderValue;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::{task::JoinSet, time::sleep};

use super::{
    Error,
    answer::{Outcome, Verdict, judge},
    front_door::{FrontDoor, Lost},
    report::Report,
};
use crate::feed::Submission;

/// How long a command is sent again before the import gives up: long enough to start a shop again that was killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same before anybody has answered at all, when the address is probably wrong.
const PATIENCE_AT_FIRST: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// What is over within shorter pauses is not worth a word.
const SILENT_PAUSE_MAX: Duration = Duration::from_millis(400);
/// Longest pause that a `Retry-After` can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// After so many failures the rest would fare no better.
const FAILURES_MAX: usize = 100;

/// What all senders share.
pub(super) struct Sending {
    pub(super) door: FrontDoor,
    pub(super) submissions: Vec<Submission>,
    pub(super) report: Mutex<Report>,
    next: AtomicUsize,
    /// When somebody last answered; `None` before the first time.
    answered: Mutex<Option<Instant>>,
    /// Whether it was said that nobody answers, since the last answer.
    said_lost: AtomicBool,
    stopped: AtomicBool,
    progress: ProgressBar,
}

/// A command ready to be sent, as often as need be.
struct Ready {
    path: String,
    key: HeaderValue,
    body: Bytes,
}

/// A command that needs no more sending.
struct Done {
    outcome: Outcome,
    /// For people.
    detail: String,
    token: Option<HeaderValue>,
}

enum Attempt {
    Done(Done),
    Again { reason: String, after: Duration },
    Lost(Lost),
}

impl Sending {
    pub(super) fn new(door: FrontDoor, submissions: Vec<Submission>) -> Self {
        let progress = ProgressBar::new(submissions.len() as u64);
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} invoices, {rate}, {eta} to go");
        if let Ok(style) = style {
            progress.set_style(style.with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
                // Writing to the bar cannot fail.
                let _ = write!(to, "{:.0}/s", state.per_sec());
            }));
        }
        Self {
            door,
            submissions,
            report: Mutex::default(),
            next: AtomicUsize::new(0),
            answered: Mutex::default(),
            said_lost: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            progress,
        }
    }

    /// Sends no more commands; those under way are waited for.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// What the report says, and may be told.
    pub(super) fn with_report<T>(&self, use_it: impl FnOnce(&mut Report) -> T) -> T {
        use_it(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends everything, so many commands at a time, and returns the last consistency token of each sender.
    pub(super) async fn run(self: &Arc<Self>, concurrency: usize) -> Result<Vec<HeaderValue>, Error> {
        let mut senders = JoinSet::new();
        for _ in 0..concurrency.min(self.submissions.len()) {
            senders.spawn(self.clone().send_in_turn());
        }
        let (mut tokens, mut failure) = (Vec::new(), None);
        while let Some(sender) = senders.join_next().await {
            match sender {
                Ok(Ok(token)) => tokens.extend(token),
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        self.progress.finish_and_clear();
        tokens.sort();
        tokens.dedup();
        failure.map_or(Ok(tokens), Err)
    }

    async fn send_in_turn(self: Arc<Self>) -> Result<Option<HeaderValue>, Error> {
        let mut token = None;
        while !self.is_stopped() {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(submission) = self.submissions.get(index) else { break };
            match self.send(submission, index).await {
                Ok(Some(done)) => {
                    token = done.token.or(token);
                    self.note(submission, done.outcome, &done.detail);
                }
                Ok(None) => break,
                Err(error) => {
                    self.stop();
                    return Err(error);
                }
            }
        }
        Ok(token)
    }

    fn note(&self, submission: &Submission, outcome: Outcome, detail: &str) {
        let failures = self.with_report(|report| {
            report.answered(submission, outcome, detail);
            report.failures()
        });
        if failures >= FAILURES_MAX {
            self.stop();
        }
        self.progress.inc(1);
    }

    /// Sends one command until it is done; `None` when the import was stopped before.
    async fn send(&self, submission: &Submission, index: usize) -> Result<Option<Done>, Error> {
        let ready = Ready::new(submission);
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        while !self.is_stopped() {
            let attempt = self.attempt(&ready, submission.class.aggregate()).await;
            if let Attempt::Lost(lost) = &attempt
                && pause >= SILENT_PAUSE_MAX
            {
                self.say_lost(lost);
            }
            let after = match &attempt {
                Attempt::Done(_) => Duration::ZERO,
                Attempt::Again { after, .. } => (*after).min(RETRY_AFTER_MAX).max(pause),
                Attempt::Lost(_) => pause,
            };
            if after.is_zero() || started.elapsed() >= self.patience() {
                return self.end(attempt, started.elapsed()).map(Some);
            }
            // Spread by their place in the feed, so that not all senders come back at once.
            sleep(after + PAUSE_MIN * u32::try_from(index % 8).unwrap_or_default()).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(None)
    }

    async fn attempt(&self, ready: &Ready, aggregate: &str) -> Attempt {
        let answer = match self.door.command(&ready.path, &ready.key, ready.body.clone()).await {
            Ok(answer) => answer,
            Err(lost) => return Attempt::Lost(lost),
        };
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.said_lost.store(false, Ordering::Relaxed);
        match judge(&answer, aggregate) {
            Verdict::Done(outcome, detail) => Attempt::Done(Done { outcome, detail, token: answer.token().cloned() }),
            Verdict::Again { reason, after } => Attempt::Again { reason, after },
        }
    }

    /// What becomes of a command that is sent no more.
    fn end(&self, last: Attempt, waited: Duration) -> Result<Done, Error> {
        match last {
            Attempt::Done(done) => Ok(done),
            Attempt::Again { reason, .. } => {
                let detail = format!("the shop asked to send it again for {waited:.0?}");
                Ok(Done { outcome: Outcome::Failed(reason), detail, token: None })
            }
            Attempt::Lost(source) => Err(Error::Unreachable { url: self.door.url().to_owned(), waited, source }),
        }
    }

    fn patience(&self) -> Duration {
        if self.last_answer().is_some() { PATIENCE } else { PATIENCE_AT_FIRST }
    }

    fn last_answer(&self) -> Option<Instant> {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From `started` to the last answer, so that a vain wait at the end does not count.
    pub(super) fn answered_after(&self, started: Instant) -> Duration {
        self.last_answer().map_or(Duration::ZERO, |at| at.saturating_duration_since(started))
    }

    /// Says once that nobody answers any more, and for how long it will be tried.
    fn say_lost(&self, lost: &Lost) {
        if self.last_answer().is_none() || self.said_lost.swap(true, Ordering::Relaxed) {
            return;
        }
        let (url, patience) = (self.door.url(), PATIENCE.as_secs());
        self.progress.suspend(|| eprintln!("{url} does not answer ({lost}): trying again for up to {patience} s"));
    }
}

impl Ready {
    fn new(submission: &Submission) -> Self {
        let (aggregate, command) = (submission.class.aggregate(), submission.class.command());
        let path = format!("/commands/{aggregate}/{}/{command}", encode_part(&submission.id));
        // An invoice has strings for keys and no fractions: there is nothing in it that JSON could not hold.
        let body = serde_json::to_vec(&submission.body).unwrap_or_default();
        let digest = Hash::of(&[path.as_bytes(), b"\n", &body].concat());
        let key = HeaderValue::from_str(&format!("\"shop-import-{digest}\""))
            .unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self { path, key, body: body.into() }
    }
}
