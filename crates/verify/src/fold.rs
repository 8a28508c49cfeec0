//! A generation's rows beside the fold of the log: of each row a digest from either side.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher},
    sync::Arc,
};

use model::{Folder, Hash, IndexValue, Position, ProjectionType, Recorded, RowChange, RowKey, RowWrite, Tenant};

use crate::{Violation, findings::Findings, guard::guarded};

/// What is kept of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    /// The first half of the body's SHA-256.
    body: [u8; 16],
    /// Over the index columns, which have been compared with the body already.
    index: u64,
    position: Position,
}

impl Print {
    pub(crate) fn new(body: &[u8], index: &[IndexValue], position: Position) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Hash::of(body).0[..16]);
        // Its keys are fixed: the same in every process.
        let mut hasher = DefaultHasher::new();
        for value in index {
            match value {
                IndexValue::Null => 0_u8.hash(&mut hasher),
                IndexValue::Integer(number) => (1_u8, number).hash(&mut hasher),
                IndexValue::Text(text) => (2_u8, text).hash(&mut hasher),
            }
        }
        Self { body: half, index: hasher.finish(), position }
    }

    fn body(&self) -> String {
        self.body.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[derive(Clone, Copy, Default)]
struct Pair {
    stored: Option<Print>,
    folded: Option<Print>,
}

/// Which generation, for what is reported.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) read_model: String,
    pub(crate) generation: u64,
}

/// Rows that were read together, and so are folded equally far.
struct Slice {
    /// The last of them; `None` for the slice that has all others.
    last: Option<RowKey>,
    checkpoint: u64,
}

pub(crate) struct Fold {
    place: Place,
    /// In the order of their keys.
    slices: Vec<Slice>,
    /// Their checkpoints, in order, each once.
    checkpoints: Vec<u64>,
    /// Keeps every row: it never has to be given one.
    folder: Box<dyn Folder>,
    rows: HashMap<RowKey, Pair>,
    reached: u64,
    failed: bool,
}

impl Fold {
    pub(crate) fn new(place: Place, projection: &dyn ProjectionType) -> Self {
        let folder = projection.folder(usize::MAX);
        let (slices, checkpoints, rows) = (Vec::new(), Vec::new(), HashMap::new());
        Self { place, slices, checkpoints, folder, rows, reached: 0, failed: false }
    }

    pub(crate) fn stored(&mut self, key: RowKey, print: Print) {
        self.rows.entry(key).or_default().stored = Some(print);
    }

    /// The rows up to key `last`, from those of the call before, are said to be folded so far.
    pub(crate) fn up_to(&mut self, last: Option<RowKey>, checkpoint: u64) {
        self.slices.push(Slice { last, checkpoint });
        if let Err(place) = self.checkpoints.binary_search(&checkpoint) {
            self.checkpoints.insert(place, checkpoint);
        }
    }

    /// Up to where the furthest of the rows are folded.
    fn furthest(&self) -> u64 {
        self.checkpoints.last().copied().unwrap_or_default()
    }

    fn checkpoint_of(&self, key: &RowKey) -> u64 {
        let before = |slice: &Slice| slice.last.as_ref().is_some_and(|last| last < key);
        self.slices.get(self.slices.partition_point(before)).map_or(0, |slice| slice.checkpoint)
    }

    /// Folds those of `events` that the rows contain. They follow on those of the call before.
    ///
    /// What is folded at a time goes beyond no checkpoint: the rows that were read with it contain all of it, or nothing.
    pub(crate) fn advance(&mut self, events: &[Arc<Recorded>], findings: &mut Findings) {
        let mut rest = events;
        while let Some(first) = rest.first().map(|event| event.position.get()) {
            let next = self.checkpoints.partition_point(|checkpoint| *checkpoint < first);
            let Some(checkpoint) = self.checkpoints.get(next).copied() else { return };
            let (contained, after) = rest.split_at(rest.partition_point(|event| event.position.get() <= checkpoint));
            self.step(contained, checkpoint, findings);
            rest = after;
        }
    }

    fn step(&mut self, events: &[Arc<Recorded>], checkpoint: u64, findings: &mut Findings) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        if self.failed {
            return;
        }
        match fold(self.folder.as_mut(), events) {
            Ok(writes) => {
                for write in writes {
                    if self.checkpoint_of(&write.key) >= checkpoint {
                        self.folded(write);
                    }
                }
            }
            Err((position, found)) => {
                self.failed = true;
                let Place { read_model, generation } = self.place.clone();
                let position = position.unwrap_or(first.position.get());
                findings.add(Violation::FoldFailed { read_model, generation, position, found });
            }
        }
        self.reached = last.position.get();
    }

    fn folded(&mut self, write: RowWrite) {
        let print = match &write.change {
            RowChange::Put { body, index } => Some(Print::new(body.as_bytes(), index, write.position)),
            RowChange::Delete => None,
        };
        self.rows.entry(write.key).or_default().folded = print;
    }

    /// Compares; `false` where that cannot be done. `untrusted` is the first position that could not be folded.
    pub(crate) fn finish(self, untrusted: Option<u64>, findings: &mut Findings) -> bool {
        let Place { read_model, generation } = self.place.clone();
        if let Some(position) = untrusted.filter(|position| *position <= self.furthest()) {
            findings.add(Violation::NotJudged { read_model, generation, position });
            return false;
        }
        if self.failed || self.reached < self.furthest() {
            return false;
        }
        let mut different: Vec<(RowKey, Pair)> =
            self.rows.into_iter().filter(|(_, pair)| pair.stored != pair.folded).collect();
        different.sort_by(|(left, _), (right, _)| left.cmp(right));
        for (key, pair) in different {
            report(&self.place, &key, pair, findings);
        }
        true
    }
}

type FoldResult = Result<Vec<RowWrite>, (Option<u64>, String)>;

fn fold(folder: &mut dyn Folder, events: &[Arc<Recorded>]) -> FoldResult {
    let failed = |failure: model::FoldFailure| (Some(failure.position.get()), failure.reason);
    let folded = guarded(|| {
        for _ in folder.plan(events).map_err(failed)? {
            // Seen for the first time, since all that were seen before are kept.
            folder.supply(None).map_err(failed)?;
        }
        let writes = folder.fold(events).map_err(failed)?;
        folder.commit();
        Ok(writes)
    });
    folded.unwrap_or_else(|panic| Err((None, panic)))
}

/// A row's key as people read it: with its tenant where that is not the default one.
pub(crate) fn shown(key: &RowKey) -> String {
    if key.tenant == Tenant::default() { key.key.to_string() } else { format!("{}: {}", key.tenant, key.key) }
}

fn report(place: &Place, key: &RowKey, pair: Pair, findings: &mut Findings) {
    let (read_model, generation, key) = (place.read_model.clone(), place.generation, shown(key));
    findings.add(match (pair.stored, pair.folded) {
        (None, None) => return,
        (None, Some(folded)) => Violation::RowMissing { read_model, generation, key, position: folded.position.get() },
        (Some(stored), None) => Violation::RowExtra { read_model, generation, key, position: stored.position.get() },
        (Some(stored), Some(folded)) if stored.body != folded.body => Violation::RowBody {
            read_model,
            generation,
            key,
            stored: stored.body(),
            folded: folded.body(),
            position: folded.position.get(),
        },
        (Some(stored), Some(folded)) if stored.position != folded.position => Violation::RowPosition {
            read_model,
            generation,
            key,
            stored: stored.position.get(),
            folded: folded.position.get(),
        },
        (Some(_), Some(_)) => Violation::RowIndexes { read_model, generation, key },
    });
}
