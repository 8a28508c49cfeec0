use std::collections::BTreeMap;

use crate::Violation;

/// Violations that are kept; the others are counted.
const KEPT_MAX: usize = 100;
/// Of one kind, so that a thousand wrong rows do not hide what is wrong with the log.
const KEPT_OF_KIND_MAX: u64 = 40;

/// What was found, bounded.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) kept: Vec<Violation>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Findings {
    pub(crate) fn add(&mut self, violation: Violation) {
        let count = self.counts.entry(violation.kind()).or_default();
        *count += 1;
        if self.kept.len() < KEPT_MAX && *count <= KEPT_OF_KIND_MAX {
            self.kept.push(violation);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
