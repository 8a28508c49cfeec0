//! Every generation: its rows as they are stored, and where its checkpoint says it stands.

use model::{EpochId, Hash, Lineage, Position, ProjectionType, ReadModel, Registry};
use query_database::{ScannedCheckpoint, ScannedGeneration, ScannedRow, ScannedSlice};

use crate::{
    GenerationReport, Rows, Violation,
    findings::Findings,
    fold::{Fold, Place, Print, shown},
    guard::guarded,
};

pub(crate) struct Generation {
    pub(crate) report: GenerationReport,
    place: Place,
    /// Of its rows; where they were read in slices while it went on, several.
    checkpoints: Vec<Checkpoint>,
    /// For a generation of this binary's version and shape.
    pub(crate) fold: Option<Fold>,
}

struct Checkpoint {
    position: u64,
    hash: Hash,
    lineage: Option<Lineage>,
    /// The log's hash there: as stored, and as computed.
    in_log: Option<(Hash, Hash)>,
    /// The position whose hash it has.
    belongs_to: Option<u64>,
}

/// Reads all generations.
pub(crate) fn read(
    rows: &Rows,
    registry: &Registry,
    findings: &mut Findings,
) -> Result<Vec<Generation>, query_database::Error> {
    let mut generations = Vec::new();
    for scanned in rows.generations()? {
        generations.extend(Generation::read(rows, &scanned, registry, findings)?);
    }
    Ok(generations)
}

/// The rows of a generation have been read.
struct Read {
    /// Of the last that were read.
    checkpoint: ScannedCheckpoint,
    checkpoints: Vec<Checkpoint>,
    count: u64,
    fold: Option<Fold>,
}

impl Generation {
    fn read(
        rows: &Rows,
        scanned: &ScannedGeneration,
        registry: &Registry,
        findings: &mut Findings,
    ) -> Result<Option<Self>, query_database::Error> {
        let place = Place { read_model: scanned.name.clone(), generation: scanned.generation.0 };
        let ours = registry.find_projection(&scanned.name).filter(|projection| {
            let declared = projection.read_model();
            (declared.version, declared.shape) == (scanned.version, scanned.shape)
        });
        let wrong = |found: &str| Violation::Generation {
            read_model: scanned.name.clone(),
            generation: scanned.generation.0,
            found: found.to_owned(),
        };
        let declared = declared(scanned, ours.map(|projection| projection.read_model()));
        if !declared.is_sound {
            findings.add(wrong("what it is declared to be is not what it was made as"));
        }
        let Some(read_model) = declared.read_model else { return Ok(None) };
        let rows_of = RowsOf {
            read_model,
            projection: ours.map(|projection| &**projection),
            fold: ours.map(|projection| Fold::new(place.clone(), &**projection)),
            place: place.clone(),
            count: 0,
            findings,
        };
        let Read { checkpoint, checkpoints, count, fold } = match rows_of.read(rows, scanned.generation) {
            Ok(Some(read)) => read,
            Ok(None) => {
                findings.add(wrong("it has no checkpoint"));
                return Ok(None);
            }
            Err(error @ query_database::Error::Unreachable { .. }) => return Err(error),
            // One that nobody needs any more may be removed meanwhile.
            Err(_) if !rows.generations()?.iter().any(|present| present.generation == scanned.generation) => {
                return Ok(None);
            }
            Err(error) => {
                findings.add(wrong(&crate::report::chain(&error)));
                return Ok(None);
            }
        };
        let ScannedCheckpoint { serving, position, held, forked, .. } = checkpoint;
        let report = GenerationReport {
            read_model: scanned.name.clone(),
            version: scanned.version,
            generation: scanned.generation.0,
            serving,
            held,
            checkpoint: position.cast_unsigned(),
            rows: count,
            compared_with_fold: false,
            is_of_this_binary: fold.is_some(),
            is_replaced: forked && !serving,
        };
        let fold = fold.filter(|_| !report.is_replaced);
        Ok(Some(Self { report, place, checkpoints, fold }))
    }

    /// Called for each event, with the hash that is stored and the one that should be.
    pub(crate) fn event(&mut self, position: u64, stored: Hash, computed: Hash) {
        for checkpoint in &mut self.checkpoints {
            if position == checkpoint.position {
                checkpoint.in_log = Some((stored, computed));
            }
            if stored == checkpoint.hash {
                checkpoint.belongs_to = Some(position);
            }
        }
    }

    /// Compares checkpoint and rows with the log, all of which has been seen. Not those of which it is known that the log does
    /// not have them, and that answer nobody any more: a log that was restored leaves them behind.
    pub(crate) fn finish(&mut self, head: u64, lineage: &Lineage, untrusted: Option<u64>, findings: &mut Findings) {
        if self.report.is_replaced {
            return;
        }
        for checkpoint in &self.checkpoints {
            checkpoint.check(&self.place, head, lineage, findings);
        }
        if let Some(fold) = self.fold.take() {
            self.report.compared_with_fold = fold.finish(untrusted, findings);
        }
    }
}

impl Checkpoint {
    fn check(&self, place: &Place, head: u64, lineage: &Lineage, findings: &mut Findings) {
        let Place { read_model, generation } = place.clone();
        let checkpoint = self.position;
        if checkpoint > head {
            findings.add(Violation::CheckpointBeyondHead { read_model, generation, checkpoint, head });
            return;
        }
        let (stored, computed) = match self.in_log {
            Some(hashes) => hashes,
            None if checkpoint == 0 => (Hash::default(), Hash::default()),
            // Missing or unreadable, which is said of the log.
            None => return,
        };
        if self.hash != stored && self.hash != computed {
            let (stored, log, belongs_to) = (self.hash, stored, self.belongs_to);
            findings.add(Violation::CheckpointHash { read_model, generation, checkpoint, stored, log, belongs_to });
        } else if let Some(position) = Position::new(checkpoint)
            && let Some(theirs) = self.epoch_of(position)
            && Some(theirs) != lineage.epoch_of(position)
        {
            findings.add(Violation::CheckpointEpoch { read_model, generation, checkpoint });
        }
    }

    fn epoch_of(&self, position: Position) -> Option<EpochId> {
        self.lineage.as_ref()?.epoch_of(position)
    }
}

struct Declared<'a> {
    read_model: Option<&'a ReadModel>,
    is_sound: bool,
}

/// What the columns of a generation's table are.
fn declared<'a>(scanned: &'a ScannedGeneration, ours: Option<&'a ReadModel>) -> Declared<'a> {
    let stored = scanned.read_model.as_ref();
    let agrees = stored.is_some_and(|stored| {
        (&stored.name, stored.version, stored.shape) == (&scanned.name, scanned.version, scanned.shape)
            && ours.is_none_or(|ours| ours.indexes == stored.indexes)
    });
    Declared { read_model: ours.or(stored), is_sound: agrees }
}

/// Takes in the rows of one generation.
struct RowsOf<'a> {
    read_model: &'a ReadModel,
    projection: Option<&'a dyn ProjectionType>,
    fold: Option<Fold>,
    place: Place,
    count: u64,
    findings: &'a mut Findings,
}

impl RowsOf<'_> {
    /// Slice after slice; `None` where there is no checkpoint.
    fn read(
        mut self,
        rows: &Rows,
        generation: query_database::Generation,
    ) -> Result<Option<Read>, query_database::Error> {
        let (mut checkpoints, mut after) = (Vec::<Checkpoint>::new(), None);
        let read_model = self.read_model;
        loop {
            let slice = rows.slice(generation, read_model, after.as_ref(), |row| self.row(row))?;
            let Some(ScannedSlice { checkpoint, last }) = slice else { return Ok(None) };
            let (position, hash) = (checkpoint.position.cast_unsigned(), checkpoint.hash);
            if let Some(fold) = &mut self.fold {
                fold.up_to(last.clone(), position);
            }
            if checkpoints.last().is_none_or(|known| (known.position, known.hash) != (position, hash)) {
                let lineage = checkpoint.lineage.clone();
                checkpoints.push(Checkpoint { position, hash, lineage, in_log: None, belongs_to: None });
            }
            after = last;
            if after.is_none() {
                return Ok(Some(Read { checkpoint, checkpoints, count: self.count, fold: self.fold }));
            }
        }
    }

    fn row(&mut self, row: Result<ScannedRow<'_>, (model::RowKey, String)>) {
        self.count += 1;
        let row = match row {
            Ok(row) => row,
            Err((key, found)) => return self.unreadable(&key, found),
        };
        if !row.fits_checksum {
            let (Place { read_model, generation }, key) = (self.place.clone(), shown(&row.key));
            self.findings.add(Violation::RowChecksum { read_model, generation, key, checksum: row.checksum });
        }
        self.indexes(&row);
        let Some(fold) = &mut self.fold else { return };
        match Position::new(row.position.cast_unsigned()) {
            Some(position) => fold.stored(row.key.clone(), Print::new(row.body, &row.index, position)),
            None => self.unreadable(&row.key, "its position is 0".to_owned()),
        }
    }

    /// Each index column is what the body says.
    fn indexes(&mut self, row: &ScannedRow<'_>) {
        let Some(projection) = self.projection else { return };
        let text = match std::str::from_utf8(row.body) {
            Ok(text) => text,
            Err(error) => return self.unreadable(&row.key, error.to_string()),
        };
        let expected = match guarded(|| projection.index_values(text)).and_then(|values| values) {
            Ok(expected) => expected,
            Err(found) => return self.unreadable(&row.key, found),
        };
        for ((index, stored), expected) in self.read_model.indexes.iter().zip(&row.index).zip(&expected) {
            if stored != expected {
                let Place { read_model, generation } = self.place.clone();
                self.findings.add(Violation::IndexColumn {
                    read_model,
                    generation,
                    key: shown(&row.key),
                    field: index.field.clone(),
                    stored: stored.clone(),
                    expected: expected.clone(),
                });
            }
        }
    }

    fn unreadable(&mut self, key: &model::RowKey, found: String) {
        let (Place { read_model, generation }, key) = (self.place.clone(), shown(key));
        self.findings.add(Violation::RowUnreadable { read_model, generation, key, found });
    }
}
