use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use serde::Serialize;

use crate::{Violation, findings::Findings, violation::Remedy};

/// What was checked and what was found. Its `Display` is for the operator, its JSON for programs.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The log.
    pub log: LogReport,
    /// The file or database with the rows.
    pub rows: String,
    /// Every generation in it.
    pub generations: Vec<GenerationReport>,
    /// The first violations; the rest is counted.
    pub violations: Vec<Violation>,
    /// How many there are of each kind, those that are not listed included.
    pub counts: BTreeMap<&'static str, u64>,
    /// How long it took.
    pub duration_seconds: f64,
    /// As [`Report::holds`] has it.
    pub holds: bool,
}

/// What was checked in the log.
#[derive(Clone, Debug, Serialize)]
pub struct LogReport {
    /// The file or database.
    pub name: String,
    /// The last position; 0 while the log is empty.
    pub head: u64,
    /// Events that could be read.
    pub events: u64,
    /// Commands that made them.
    pub commands: u64,
    /// Streams that they are in.
    pub streams: u64,
    /// Lives of the log.
    pub epochs: u64,
    /// Idempotency records.
    pub idempotency_records: u64,
    /// Snapshots that there are.
    pub snapshots: u64,
    /// Of these, compared with the fold of their streams.
    pub snapshots_compared: u64,
    /// Of these, looked at but of another shape than this binary's, so that nobody uses them.
    pub snapshots_of_other_shape: u64,
}

/// What was checked of one generation.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationReport {
    /// Of which read model.
    pub read_model: String,
    /// The fold's version.
    pub version: u32,
    /// Which.
    pub generation: u64,
    /// Whether queries are answered from it.
    pub serving: bool,
    /// Why it waits, if it does.
    pub held: Option<String>,
    /// Its checkpoint; 0 where nothing is folded.
    pub checkpoint: u64,
    /// How many rows it has.
    pub rows: u64,
    /// Whether this binary has the code that folds it. Of another one only checkpoint and row checksums are checked.
    pub is_of_this_binary: bool,
    /// Whether its rows could be compared with the fold of the log.
    pub compared_with_fold: bool,
    /// Whether it is of a history that the log no longer has, and was replaced for that. Only its rows' checksums are checked.
    pub is_replaced: bool,
}

impl Report {
    pub(crate) fn new(
        log: LogReport,
        rows: String,
        generations: Vec<GenerationReport>,
        findings: Findings,
        duration: Duration,
    ) -> Self {
        let holds = findings.total() == 0;
        let duration_seconds = duration.as_secs_f64();
        let Findings { kept: violations, counts, .. } = findings;
        Self { log, rows, generations, violations, counts, duration_seconds, holds }
    }

    /// Whether all that was checked is as it should be. What could not be judged does not hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// How many violations there are, those that are not listed included.
    #[must_use]
    pub fn violation_count(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log.fmt(formatter)?;
        self.write_generations(formatter)?;
        let rate = self.log.events as f64 / self.duration_seconds.max(0.001);
        writeln!(formatter, "\nTook {:.1} s, {rate:.0} events a second.\n", self.duration_seconds)?;
        self.write_violations(formatter)?;
        self.write_verdict(formatter)
    }
}

impl fmt::Display for LogReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Log   {}", self.name)?;
        let compared = format!(
            "{} of {}, {} of another shape",
            self.snapshots_compared, self.snapshots, self.snapshots_of_other_shape
        );
        for (what, count) in [
            ("last position", self.head.to_string()),
            ("events", self.events.to_string()),
            ("commands", self.commands.to_string()),
            ("streams", self.streams.to_string()),
            ("epochs", self.epochs.to_string()),
            ("idempotency records", self.idempotency_records.to_string()),
            ("snapshots compared", compared),
        ] {
            writeln!(formatter, "      {what:<20} {count}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_generations(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\nRows  {}", self.rows)?;
        let line = ["read model", "version", "generation", "checkpoint", "rows", "compared with"];
        let mut lines = vec![line.map(str::to_owned)];
        lines.extend(self.generations.iter().map(|generation| {
            let serving = if generation.serving { "*" } else { "" };
            [
                generation.read_model.clone(),
                generation.version.to_string(),
                format!("{}{serving}", generation.generation),
                generation.checkpoint.to_string(),
                generation.rows.to_string(),
                compared(generation),
            ]
        }));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        for line in &lines {
            write!(formatter, "      {:<width$}", line[0], width = widths[0])?;
            for column in 1..5 {
                write!(formatter, "  {:>width$}", line[column], width = widths[column])?;
            }
            writeln!(formatter, "  {}", line[5])?;
        }
        writeln!(formatter, "      (* serves queries)")
    }

    fn write_violations(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.violations.is_empty() {
            return Ok(());
        }
        writeln!(formatter, "Violations")?;
        for (number, violation) in (1..).zip(&self.violations) {
            writeln!(formatter, "{number:>5} {violation}")?;
        }
        if self.violation_count() > self.violations.len() as u64 {
            let counts: Vec<String> = self.counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(formatter, "      … of {}: {}", self.violation_count(), counts.join(", "))?;
        }
        writeln!(formatter, "\nWhat to do")?;
        let mut remedies: Vec<Remedy> = Vec::new();
        for remedy in self.violations.iter().filter_map(Violation::remedy) {
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
        for remedy in remedies {
            writeln!(formatter, "    - {}", remedy.text())?;
        }
        writeln!(formatter)
    }

    /// How many events of the log the rows lack that queries are answered from.
    fn behind(&self) -> u64 {
        let serving = self.generations.iter().filter(|generation| generation.serving);
        serving.map(|generation| self.log.head.saturating_sub(generation.checkpoint)).max().unwrap_or(self.log.head)
    }

    fn write_verdict(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.violation_count();
        if self.holds {
            write!(formatter, "VERDICT: holds. Log, rows and checkpoints agree.")?;
            return match self.behind() {
                0 => Ok(()),
                1 => write!(
                    formatter,
                    " Rows are 1 event behind the log: a running system catches up, or the next start."
                ),
                events => write!(
                    formatter,
                    " Rows are {events} events behind the log: a running system catches up, or the next start."
                ),
            };
        }
        if self.violations.iter().all(Violation::is_unjudged) {
            return write!(formatter, "VERDICT: cannot be judged by this binary ({count} findings).");
        }
        write!(formatter, "VERDICT: DOES NOT HOLD, {count} violations.")
    }
}

fn compared(generation: &GenerationReport) -> String {
    if generation.is_replaced {
        return "its checksums only: of a history that the log no longer has, and replaced".to_owned();
    }
    let mut text = match (generation.is_of_this_binary, generation.compared_with_fold) {
        (true, true) => "the fold".to_owned(),
        (true, false) => "nothing: could not be folded".to_owned(),
        (false, _) => "its checksums only: of another version than this binary".to_owned(),
    };
    if let Some(held) = &generation.held {
        text = format!("{text}; waits: {held}");
    }
    text
}
