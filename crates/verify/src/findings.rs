use std::collections::BTreeMap;

use command_database::Error;

use crate::{Violation, report::chain};

/// Violations that are kept; the others are counted.
const KEPT_MAX: usize = 100;
/// Of one kind, so that a thousand wrong rows do not hide what is wrong with the log.
const KEPT_OF_KIND_MAX: u64 = 40;

/// What was found, bounded.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) kept: Vec<Violation>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// The log's server was lost on the way: what was not read says nothing of the log.
    pub(crate) lost: Option<Error>,
}

impl Findings {
    pub(crate) fn add(&mut self, violation: Violation) {
        let count = self.counts.entry(violation.kind()).or_default();
        *count += 1;
        if self.kept.len() < KEPT_MAX && *count <= KEPT_OF_KIND_MAX {
            self.kept.push(violation);
        }
    }

    /// A table beside the events cannot be read.
    pub(crate) fn unreadable(&mut self, table: &'static str, error: Error) {
        if !self.is_loss(&error) {
            return self.add(Violation::TableUnreadable { table, found: chain(&error) });
        }
        self.lost.get_or_insert(error);
    }

    /// Whether `error` says something of the way to the log and nothing of the log.
    pub(crate) fn is_loss(&self, error: &Error) -> bool {
        matches!(error, Error::Connect { .. })
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
