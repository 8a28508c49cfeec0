use model::{Hash, Position};

use super::{Contents, CopiedEpoch, CopiedEvent, CopiedRecord, CopySource, Progress, SLICE, SLICE_RECORDS};
use crate::{Error, LogScan, ReadLimit, Scanned, ScannedEpoch, ScannedRecord};

/// A log that is copied, beside its writers or without any.
///
/// Head, lineage and all records are of one state of it, which is let go of before the events are read: those do not change.
/// So each record's events are in the copy, and each event's record.
pub struct LogSource<'a> {
    scan: &'a mut dyn LogScan,
    contents: Contents,
    /// The next record's key is beyond this one; `None` when there are no more.
    key: Option<Hash>,
    position: i64,
}

impl std::fmt::Debug for LogSource<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogSource").field("contents", &self.contents).finish_non_exhaustive()
    }
}

impl<'a> LogSource<'a> {
    /// Looks at what there is to copy.
    ///
    /// # Errors
    /// When the log cannot be read, or its end is damaged.
    pub fn new(scan: &'a mut dyn LogScan) -> Result<Self, Error> {
        scan.begin()?;
        let contents = contents(scan)?;
        Ok(Self { scan, contents, key: Some(Hash::default()), position: 0 })
    }
}

/// The lives of a log, in order.
pub(super) fn epochs(scan: &mut dyn LogScan) -> Result<Vec<CopiedEpoch>, Error> {
    let name = scan.name();
    let damaged = || Error::Damaged { log: name.clone(), found: "its lineage is not in order".to_owned() };
    let epoch = |ScannedEpoch { id, first, began, .. }: ScannedEpoch| {
        let first = Position::new(first.cast_unsigned()).ok_or_else(damaged)?;
        Ok(CopiedEpoch { id, first, began })
    };
    scan.epochs()?.into_iter().map(epoch).collect()
}

fn contents(scan: &mut dyn LogScan) -> Result<Contents, Error> {
    let head = scan.head()?;
    let name = scan.name();
    let damaged = |found: String| Error::Damaged { log: name.clone(), found };
    let position = Position::new(head.position.cast_unsigned());
    let mut hash = Hash::default();
    if let Some(position) = position {
        let last = scan.events(head.position - 1, ReadLimit { events_max: 1, bytes_max: usize::MAX });
        let last = match (last.failed, last.events.into_iter().next()) {
            (Some(error), _) => return Err(error),
            (None, Some(Scanned::Event(event))) => event,
            (None, _) => return Err(damaged(format!("its last event, at {position}, cannot be read"))),
        };
        hash = last.event.hash;
    }
    if let Some(kept) = head.kept
        && kept != (head.position, hash)
    {
        let found = format!("its end is kept as position {}, its events end at {}", kept.0, head.position);
        return Err(damaged(found));
    }
    let (epochs, clock, relayed) = (epochs(scan)?, scan.clock()?, scan.relayed()?);
    Ok(Contents { epochs, head: position, hash, clock, relayed })
}

impl LogSource<'_> {
    fn record(&self, scanned: ScannedRecord) -> Result<CopiedRecord, Error> {
        let ScannedRecord { key, record, elapsed, .. } = scanned;
        let damaged = |found: String| Error::Damaged {
            log: self.scan.name(),
            found: format!("the idempotency record {key}: {found}"),
        };
        match record {
            Ok((record, true)) => Ok(CopiedRecord { key, record, elapsed }),
            Ok((_, false)) => Err(damaged("it does not fit its checksum".to_owned())),
            Err(found) => Err(damaged(found)),
        }
    }

    fn event(&self, scanned: Scanned) -> Result<CopiedEvent, Error> {
        let corrupt = |position: u64, found: String| Error::Corrupt { log: self.scan.name(), position, found };
        match scanned {
            Scanned::Event(scanned) if scanned.fits_checksum => {
                let position = scanned.event.position.get();
                let command_index = u32::try_from(scanned.command_index)
                    .map_err(|_| corrupt(position, "its place in its command is none".to_owned()))?;
                Ok(CopiedEvent { event: scanned.event, command_index })
            }
            Scanned::Event(scanned) => {
                Err(corrupt(scanned.event.position.get(), "it does not fit its checksum".to_owned()))
            }
            Scanned::Unreadable { position, found } => Err(corrupt(position.cast_unsigned(), found)),
        }
    }
}

impl CopySource for LogSource<'_> {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    fn skip(&mut self, progress: &Progress) {
        self.key = Some(progress.key.unwrap_or_default());
        self.position = Position::count(progress.position).cast_signed();
    }

    fn records(&mut self) -> Result<Vec<CopiedRecord>, Error> {
        let Some(after) = self.key else { return Ok(Vec::new()) };
        let scanned = self.scan.records(after, SLICE_RECORDS)?;
        self.key = scanned.last().map(|record| record.key);
        if scanned.is_empty() {
            self.scan.end()?;
        }
        scanned.into_iter().map(|scanned| self.record(scanned)).collect()
    }

    fn events(&mut self) -> Result<Vec<CopiedEvent>, Error> {
        let head = Position::count(self.contents.head).cast_signed();
        let left = usize::try_from(head - self.position).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Vec::new());
        }
        // What was appended meanwhile is not of this copy.
        let limit = ReadLimit { events_max: SLICE.events_max.min(left), ..SLICE };
        let slice = self.scan.events(self.position, limit);
        if let Some(error) = slice.failed {
            return Err(error);
        }
        let events: Vec<_> = slice.events.into_iter().map(|scanned| self.event(scanned)).collect::<Result<_, _>>()?;
        if let Some(last) = events.last() {
            self.position = last.event.position.get().cast_signed();
        }
        Ok(events)
    }
}
