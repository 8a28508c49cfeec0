use std::fmt;

use serde::Serialize;

/// What a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It holds on every machine, however slow.
    Promise,
    /// It depends on the machine, and on what else runs on it.
    Speed,
    /// No bound: told for the reader's sake.
    Told,
}

/// One line of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub measured: String,
    /// What was demanded.
    pub bound: String,
    /// What it rests on.
    pub kind: Kind,
    /// Whether the bound holds.
    pub holds: bool,
}

/// What came of a drill.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The drill's name.
    pub drill: String,
    /// In the order in which they were looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(drill: &str) -> Self {
        Self { drill: drill.to_owned(), findings: Vec::new() }
    }

    /// Notes what holds on any machine, or does not.
    pub(crate) fn promise(&mut self, what: &str, holds: bool, measured: impl fmt::Display, bound: &str) {
        self.note(Kind::Promise, what, holds, measured.to_string(), bound);
    }

    /// Notes a figure and whether it is within its bound.
    pub(crate) fn speed(&mut self, what: &str, holds: bool, measured: impl fmt::Display, bound: &str) {
        self.note(Kind::Speed, what, holds, measured.to_string(), bound);
    }

    /// Notes a figure that nothing is demanded of.
    pub(crate) fn tell(&mut self, what: &str, measured: impl fmt::Display) {
        self.note(Kind::Told, what, true, measured.to_string(), "");
    }

    fn note(&mut self, kind: Kind, what: &str, holds: bool, measured: String, bound: &str) {
        let (what, bound) = (what.to_owned(), bound.to_owned());
        self.findings.push(Finding { what, measured, bound, kind, holds });
    }

    /// What does not hold.
    pub fn violations(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.holds)
    }

    /// What does not hold, and should on any machine.
    pub fn broken_promises(&self) -> impl Iterator<Item = &Finding> {
        self.violations().filter(|finding| finding.kind == Kind::Promise)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |of: fn(&Finding) -> &str| self.findings.iter().map(|each| of(each).chars().count()).max().unwrap_or(0);
        let (what, measured) = (width(|each| &each.what), width(|each| &each.measured));
        write!(formatter, "{}", self.drill)?;
        for finding in &self.findings {
            let verdict = match (finding.kind, finding.holds) {
                (Kind::Told, _) => "",
                (_, true) => "holds",
                (_, false) => "FAILS",
            };
            let line =
                format!("  {:what$}  {:measured$}  {:5}  {}", finding.what, finding.measured, verdict, finding.bound);
            write!(formatter, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}
