//! How far a copy has come: a bar on a terminal, elsewhere a line for each tenth.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use command_database::{Pace, Step};
use indicatif::{ProgressBar, ProgressStyle};

use super::say;
use crate::cli::output;

pub(in crate::cli) struct Progress {
    phase: &'static str,
    bar: Option<ProgressBar>,
    /// The tenth that was told last.
    tenth: u64,
    is_interrupted: Arc<AtomicBool>,
}

impl Progress {
    pub(super) fn new(phase: &'static str, is_interrupted: Arc<AtomicBool>) -> Self {
        let is_dumb = output::is_dumb(|name| std::env::var(name).ok());
        let bar = (std::io::stderr().is_terminal() && !is_dumb).then(|| bar(phase));
        if bar.is_none() {
            say(phase);
        }
        Self { phase, bar, tenth: 0, is_interrupted }
    }

    /// Tells the operator, and says whether it goes on.
    pub(in crate::cli) fn tell(&mut self, step: Step) -> Pace {
        match (&self.bar, step) {
            (Some(bar), Step::Events { position, of }) => {
                bar.set_length(of);
                bar.set_position(position);
            }
            (None, Step::Events { position, of }) if of > 0 => {
                let tenth = position * 10 / of;
                if tenth > self.tenth {
                    self.tenth = tenth;
                    say(&format!("{}: {position} of {of} events", self.phase));
                }
            }
            _ => {}
        }
        if self.is_interrupted.load(Ordering::Acquire) { Pace::Stop } else { Pace::GoOn }
    }
}

fn bar(phase: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(phase);
    let style = ProgressStyle::with_template("{msg} {bar:40} {human_pos}/{human_len} events, {eta} to go");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
