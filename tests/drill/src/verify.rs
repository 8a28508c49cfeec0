//! The application's own `verify`, as an operator runs it.

use std::process::Command;

use serde::Deserialize;

use crate::{Report, Stage, Trouble};

/// What `verify -o json` prints, as far as a drill looks at it.
#[derive(Deserialize)]
struct Verdict {
    holds: bool,
    counts: std::collections::BTreeMap<String, u64>,
    log: OfLog,
    generations: Vec<Generation>,
}

#[derive(Deserialize)]
struct OfLog {
    head: u64,
    events: u64,
    idempotency_records: u64,
}

#[derive(Deserialize)]
struct Generation {
    serving: bool,
    checkpoint: u64,
    rows: u64,
    compared_with_fold: bool,
}

impl Verdict {
    /// Whether everything holds, and that says something: of a log of so many events all was looked at, and the rows that are
    /// shown were compared with all of it.
    fn is_passed(&self, events: usize) -> bool {
        let is_compared =
            |generation: &Generation| generation.compared_with_fold && generation.checkpoint == self.log.head;
        let mut serving = self.generations.iter().filter(|generation| generation.serving).peekable();
        self.holds && self.log.events == events as u64 && serving.peek().is_some() && serving.all(is_compared)
    }

    fn said(&self) -> String {
        if !self.holds {
            let counts: Vec<String> = self.counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            return format!("violations: {}", counts.join(", "));
        }
        let Self { log: OfLog { events, idempotency_records, .. }, generations, .. } = self;
        let compared = generations.iter().filter(|generation| generation.compared_with_fold);
        let rows: u64 = compared.map(|generation| generation.rows).sum();
        format!("{events} events, {idempotency_records} keys, {rows} rows compared")
    }
}

/// Runs it beside the system, whose rows contain all of a log of so many events, and notes what it says.
pub(crate) fn passes(stage: &Stage, events: usize, report: &mut Report) -> Result<(), Trouble> {
    let system = &stage.system;
    let output = Command::new(&stage.binary)
        .args(["verify", "-o", "json", "--command-database", &system.log.url("postgres")])
        .args(["--query-database", &system.rows.url("postgres")])
        .output()?;
    let verdict = serde_json::from_slice::<Verdict>(&output.stdout);
    let (passed, said) = match &verdict {
        Ok(verdict) => (output.status.success() && verdict.is_passed(events), verdict.said()),
        Err(_) => (false, format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    };
    report.promise("`verify` of both databases", passed, said, "it passes, over every event and row");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_about_less_than_everything_is_not_passed() {
        let whole = || Verdict {
            holds: true,
            counts: [].into(),
            log: OfLog { head: 7, events: 7, idempotency_records: 7 },
            generations: vec![Generation { serving: true, checkpoint: 7, rows: 3, compared_with_fold: true }],
        };
        assert!(whole().is_passed(7));
        let former = Generation { serving: false, checkpoint: 2, rows: 1, compared_with_fold: false };
        let beside_a_former =
            Verdict { generations: whole().generations.into_iter().chain([former]).collect(), ..whole() };
        assert!(beside_a_former.is_passed(7));
        let serving = |checkpoint, compared_with_fold| Verdict {
            generations: vec![Generation { serving: true, checkpoint, rows: 3, compared_with_fold }],
            ..whole()
        };
        for (less, what) in [
            (Verdict { holds: false, ..whole() }, "a violation"),
            (Verdict { log: OfLog { events: 6, ..whole().log }, ..whole() }, "fewer events"),
            (Verdict { generations: Vec::new(), ..whole() }, "no rows"),
            (serving(6, true), "rows that lack an event"),
            (serving(7, false), "rows that were not compared"),
        ] {
            assert!(!less.is_passed(7), "{what}");
        }
    }
}
