use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::answer::Outcome;
use crate::feed::{Refused, Submission};

/// What became of a feed, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Report {
    outcomes: BTreeMap<Outcome, Count>,
    refused_lines: BTreeMap<&'static str, u64>,
    /// Of all that is not in the log, by the shop's rules or because something else is there.
    refused: Vec<RefusedLine>,
    /// A word of the shop for each kind of failure.
    details: BTreeMap<String, String>,
}

/// A row of the file of refused lines.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct RefusedLine {
    line: u64,
    /// Empty where it cannot be read.
    invoice: String,
    /// A code.
    reason: String,
    /// For people.
    detail: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    invoices: u64,
    lines: u64,
}

impl Report {
    /// A line that became part of no command.
    pub(super) fn refused(&mut self, refused: &Refused) {
        *self.refused_lines.entry(refused.reason.code()).or_default() += 1;
        self.refused.push(RefusedLine {
            line: refused.line,
            invoice: refused.invoice.clone().unwrap_or_default(),
            reason: refused.reason.code().to_owned(),
            detail: refused.reason.detail().to_owned(),
        });
    }

    /// A command's end.
    pub(super) fn answered(&mut self, submission: &Submission, outcome: Outcome, detail: &str) {
        if let Outcome::Refused(code) | Outcome::Differs(code) = &outcome {
            self.refused.extend(submission.feed_lines.iter().map(|line| RefusedLine {
                line: *line,
                invoice: submission.id.clone(),
                reason: code.clone(),
                detail: detail.to_owned(),
            }));
        }
        if let Outcome::Failed(code) = &outcome {
            self.details.entry(code.clone()).or_insert_with(|| detail.to_owned());
        }
        let count = self.outcomes.entry(outcome).or_default();
        count.invoices += 1;
        count.lines += submission.feed_lines.len() as u64;
    }

    /// Commands that neither went in nor were refused by a rule.
    pub(super) fn failures(&self) -> usize {
        let failed =
            |(outcome, count): (&Outcome, &Count)| matches!(outcome, Outcome::Failed(_)).then_some(count.invoices);
        usize::try_from(self.outcomes.iter().filter_map(failed).sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Invoices that are there and say something else.
    pub(super) fn differences(&self) -> u64 {
        let differing = self.outcomes.iter().filter(|(outcome, _)| matches!(outcome, Outcome::Differs(_)));
        differing.map(|(_, count)| count.invoices).sum()
    }

    /// Of each kind of failure one line for people.
    pub(super) fn failure_details(&self) -> impl Iterator<Item = String> {
        self.details.iter().map(|(code, detail)| format!("{code}: {detail}"))
    }

    /// How many commands have been answered.
    pub(super) fn answers(&self) -> u64 {
        self.outcomes.values().map(|count| count.invoices).sum()
    }

    /// What became of how much; `submissions` are all of the feed, answered or not.
    pub(super) fn rows(&self, submissions: &[Submission]) -> Vec<Row> {
        let all = Count {
            invoices: submissions.len() as u64,
            lines: submissions.iter().map(|submission| submission.feed_lines.len() as u64).sum(),
        };
        let mut rest = all;
        let mut rows = Vec::new();
        for outcome in [Outcome::Accepted, Outcome::AlreadyThere] {
            let name = if outcome == Outcome::Accepted { "accepted" } else { "already there" };
            let count = self.outcomes.get(&outcome).copied().unwrap_or_default();
            rows.push(Row::of(name, count));
        }
        let (mut refused_lines, mut differs) = (0, Count::default());
        for (reason, lines) in &self.refused_lines {
            rows.push(Row { outcome: format!("refused: {reason}"), invoices: None, lines: *lines });
            refused_lines += lines;
        }
        for (outcome, count) in &self.outcomes {
            (rest.invoices, rest.lines) = (rest.invoices - count.invoices, rest.lines - count.lines);
            match outcome {
                Outcome::Accepted | Outcome::AlreadyThere => {}
                // Summed up below: the file of refused lines says of which aggregate.
                Outcome::Differs(_) => {
                    differs.invoices += count.invoices;
                    differs.lines += count.lines;
                }
                Outcome::Refused(code) => rows.push(Row::of(&format!("refused: {code}"), *count)),
                Outcome::Failed(code) => rows.push(Row::of(&format!("failed: {code}"), *count)),
            }
        }
        if differs.invoices > 0 {
            rows.push(Row::of("differs from what is stored", differs));
        }
        if rest.invoices > 0 {
            rows.push(Row::of("not answered", rest));
        }
        rows.push(Row::of("in the feed", Count { lines: all.lines + refused_lines, ..all }));
        rows
    }

    /// Writes the refused lines as CSV, in the order of the feed; makes no file where there are none. Returns how many.
    pub(super) fn write_refused(&mut self, path: &Path) -> io::Result<u64> {
        // One that is there of an earlier import must not seem to be of this one.
        if self.refused.is_empty() && !path.exists() {
            return Ok(0);
        }
        self.refused.sort();
        let mut file = csv::WriterBuilder::new().has_headers(false).from_writer(BufWriter::new(File::create(path)?));
        file.write_record(["line", "invoice", "reason", "detail"])?;
        for line in &self.refused {
            file.serialize(line)?;
        }
        file.into_inner().map_err(csv::IntoInnerError::into_error)?.flush()?;
        Ok(self.refused.len() as u64)
    }
}

/// What became of a part of the feed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    outcome: String,
    /// `None` for lines that belong to invoices counted elsewhere.
    invoices: Option<u64>,
    lines: u64,
}

impl Row {
    fn of(outcome: &str, count: Count) -> Self {
        Self { outcome: outcome.to_owned(), invoices: Some(count.invoices), lines: count.lines }
    }
}

/// All that an import says at its end.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) rows: Vec<Row>,
    /// Until the last answer.
    pub(super) sent_in_seconds: f64,
    /// `None` where there is too little to tell.
    pub(super) commands_per_second: Option<f64>,
    /// `None` where it was not waited for.
    pub(super) caught_up_after_seconds: Option<f64>,
    pub(super) refused_lines: u64,
    /// `None` where there are none.
    pub(super) refused_lines_in: Option<PathBuf>,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |outcome: &str, invoices: &str, lines: &str| {
            writeln!(formatter, "{outcome:<42} {invoices:>10} {lines:>10}")
        };
        row("", "invoices", "lines")?;
        for Row { outcome, invoices, lines } in &self.rows {
            row(outcome, &invoices.map(grouped).unwrap_or_default(), &grouped(*lines))?;
        }
        write!(formatter, "sent in {:.1} s", self.sent_in_seconds)?;
        match self.commands_per_second {
            Some(rate) => writeln!(formatter, ", {rate:.0} commands/s")?,
            None => writeln!(formatter)?,
        }
        match self.caught_up_after_seconds {
            Some(seconds) => writeln!(formatter, "read models caught up {seconds:.1} s later")?,
            None => writeln!(formatter, "read models may still be catching up")?,
        }
        match &self.refused_lines_in {
            Some(path) => {
                writeln!(formatter, "refused lines are listed in {}: {}", path.display(), grouped(self.refused_lines))
            }
            None => writeln!(formatter, "no lines were refused"),
        }
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
