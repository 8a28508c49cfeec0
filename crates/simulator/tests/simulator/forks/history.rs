//! All that the log ever was.

use std::sync::Arc;

use std::{collections::BTreeMap, path::Path};

use model::{ConsistencyToken, Lineage, Position, StoredEvent, Verdict};
use query_database::{Generation, RowScan};

use crate::domain::Fold;

/// One life: a log from its first event to its last, and its lineage.
pub(super) struct Life {
    pub(super) events: Vec<Arc<StoredEvent>>,
    pub(super) lineage: Lineage,
}

/// All lives, the present one last, and which version of which read model each generation is.
pub(super) struct Histories {
    pub(super) lives: Vec<Life>,
    pub(super) generations: BTreeMap<Generation, (String, u32)>,
}

/// That these are all rows of a generation after a prefix of the log, in the order of their keys.
pub(super) struct Claim {
    pub(super) generation: Generation,
    pub(super) prefix: Option<ConsistencyToken>,
    pub(super) rows: Vec<String>,
}

impl Life {
    /// Whether the prefix that `token` names is one of this life.
    pub(super) fn has(&self, token: ConsistencyToken) -> bool {
        self.lineage.judge(&token) == Verdict::Reach(token.position) && self.count(token.position) <= self.events.len()
    }

    fn count(&self, position: Position) -> usize {
        usize::try_from(position.get()).expect("few events")
    }
}

impl Histories {
    pub(super) fn count(&self) -> usize {
        self.lives.len()
    }

    pub(super) fn present(&self) -> &Life {
        self.lives.last().expect("there is always a log")
    }

    /// A life that has this prefix; every one that has it has the same.
    fn with(&self, token: ConsistencyToken) -> (usize, &Life) {
        let found = self.lives.iter().enumerate().find(|(_, life)| life.has(token));
        found.unwrap_or_else(|| panic!("{token:?} is of no log that ever was"))
    }

    /// Whether the events up to `earlier` are those that begin the prefix up to `later`.
    pub(super) fn is_prefix(&self, earlier: ConsistencyToken, later: ConsistencyToken) -> bool {
        let is_in_both = |life: &Life| life.has(earlier) && life.has(later);
        earlier.position <= later.position && self.lives.iter().any(is_in_both)
    }

    /// All claims are true.
    pub(super) fn expect_true(&self, claims: &[Claim]) {
        let mut sorted: Vec<_> = claims.iter().map(|claim| (self.place(claim), claim)).collect();
        sorted.sort_by_key(|(place, _)| *place);
        let mut folds = BTreeMap::new();
        for ((life, read_model, version, count), claim) in sorted {
            let fold = folds.entry((life, read_model, version)).or_insert_with(|| Fold::new(read_model, version));
            let rows: Vec<String> = fold.after(&self.lives[life].events, count).into_values().collect();
            assert_eq!(claim.rows, rows, "{read_model} version {version} at {:?}", claim.prefix);
        }
    }

    /// Of which life, read model and version, and after how many events.
    fn place(&self, claim: &Claim) -> (usize, &str, u32, usize) {
        let (read_model, version) = self.generations.get(&claim.generation).expect("it answered, so it is");
        let (life, count) = claim.prefix.map_or((0, 0), |token| {
            let (index, life) = self.with(token);
            (index, life.count(token.position))
        });
        (life, read_model, *version, count)
    }

    /// The rows of every generation are the fold of the present log up to its checkpoint, but for those that are known not to
    /// be; and of these none answers.
    pub(super) fn expect_folded(&self, rows: &Path) {
        let scan = RowScan::open(rows).expect("the rows can be opened");
        let events = &self.present().events;
        for scanned in scan.generations().expect("the generations can be read") {
            let mut stored = BTreeMap::new();
            let read_model = scanned.read_model.as_ref().expect("it was declared");
            let checkpoint = scan.rows(scanned.generation, read_model, |row| {
                let row = row.expect("the row can be read");
                stored.insert(row.key.key.to_string(), String::from_utf8_lossy(row.body).into_owned());
            });
            let checkpoint = checkpoint.expect("the rows can be read").expect("it has a checkpoint");
            if checkpoint.forked {
                assert!(!checkpoint.serving, "generation {} answers still", scanned.generation);
                continue;
            }
            let count = usize::try_from(checkpoint.position).expect("few events");
            let which = format!("{} version {} at {count} of {}", scanned.name, scanned.version, events.len());
            assert!(count <= events.len(), "past the end of the log: {which}");
            assert_eq!(stored, Fold::new(&scanned.name, scanned.version).after(events, count), "{which}");
            let hash = count.checked_sub(1).map(|last| events[last].hash).unwrap_or_default();
            assert_eq!(checkpoint.hash, hash, "{which}");
        }
    }
}
