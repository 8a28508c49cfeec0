//! One event after the other: positions, hash chain, checksum, time, and what [`crate::streams`] and [`crate::command`] check.

use command_database::{Marks, Scanned, ScannedEpoch, ScannedEvent, ScannedHead, chain};
use jiff::Timestamp;
use model::{Hash, Lineage, Position};

use crate::{Violation, command::Commands, findings::Findings, streams::Streams};

/// The hash that the next event was chained to.
#[derive(Clone, Copy)]
enum Link {
    /// As stored, and as computed: where they differ, either may be the changed one.
    Known { stored: Hash, computed: Hash },
    /// The event before is missing or unreadable.
    Unknown,
}

pub(crate) struct LogCheck {
    /// The position that comes next.
    next: u64,
    link: Link,
    recorded_at: Option<Timestamp>,
    pub(crate) streams: Streams,
    pub(crate) commands: Commands,
    pub(crate) events: u64,
    /// The last position that was met.
    pub(crate) head: u64,
    /// The first position whose content is not known for certain.
    pub(crate) untrusted: Option<u64>,
}

impl LogCheck {
    /// For a log that has these marks.
    pub(crate) fn new(marks: &Marks) -> Self {
        Self {
            next: 1,
            link: Link::Known { stored: Hash::default(), computed: Hash::default() },
            recorded_at: None,
            streams: Streams::new(marks),
            commands: Commands::default(),
            events: 0,
            head: 0,
            untrusted: None,
        }
    }

    /// Returns the event with the hash that it should have, where there is one.
    pub(crate) fn pass(&mut self, scanned: Scanned, findings: &mut Findings) -> Option<(Box<ScannedEvent>, Hash)> {
        match scanned {
            Scanned::Event(event) => {
                let computed = self.event(&event, findings);
                Some((event, computed))
            }
            Scanned::Unreadable { position, .. } if position < 1 => {
                findings.add(Violation::PositionImpossible { position });
                None
            }
            Scanned::Unreadable { position, found } => {
                self.place(position.cast_unsigned(), findings);
                self.commands.interrupt(position.cast_unsigned(), findings);
                self.distrust(position.cast_unsigned());
                self.link = Link::Unknown;
                findings.add(Violation::EventUnreadable { position, found });
                None
            }
        }
    }

    /// All events have been passed: compares with what is kept of the log's end beside them.
    pub(crate) fn end(&self, head: ScannedHead, findings: &mut Findings) {
        let Some((kept, kept_hash)) = head.kept else { return };
        let is_other_hash = matches!(self.link, Link::Known { stored, .. } if stored != kept_hash);
        if kept.cast_unsigned() != self.head || is_other_hash {
            let hash = match self.link {
                Link::Known { stored, .. } => Some(stored),
                Link::Unknown => None,
            };
            findings.add(Violation::Head { kept, kept_hash, head: self.head, hash });
        }
    }

    /// From here on, no fold can be judged.
    pub(crate) fn distrust(&mut self, position: u64) {
        self.untrusted = Some(self.untrusted.map_or(position, |first| first.min(position)));
    }

    fn place(&mut self, position: u64, findings: &mut Findings) {
        if position > self.next {
            findings.add(Violation::PositionsMissing { first: self.next, last: position - 1 });
            self.commands.interrupt(self.next, findings);
            self.distrust(self.next);
            self.link = Link::Unknown;
        }
        self.head = position;
        self.next = position.saturating_add(1);
    }

    fn event(&mut self, scanned: &ScannedEvent, findings: &mut Findings) -> Hash {
        let event = &scanned.event;
        let position = event.position.get();
        self.place(position, findings);
        self.events += 1;
        if !scanned.fits_checksum {
            let (stream, event_type) = (event.stream.to_string(), event.event_type.to_string());
            findings.add(Violation::EventChecksum { position, stream, event_type });
        }
        let computed = self.chain(scanned, findings);
        if let Some(previous) = self.recorded_at
            && event.recorded_at < previous
        {
            findings.add(Violation::RecordedBefore { position, recorded_at: event.recorded_at, previous });
        }
        self.recorded_at = Some(event.recorded_at);
        self.commands.event(scanned, findings);
        self.streams.event(scanned, findings);
        computed
    }

    /// The hash that the event should have.
    fn chain(&mut self, scanned: &ScannedEvent, findings: &mut Findings) -> Hash {
        let event = &scanned.event;
        let after = |previous: &Hash| {
            let recorded_at = event.recorded_at.as_microsecond();
            chain(previous, event.epoch, event.position, event.version, recorded_at, &scanned.digest)
        };
        let (fits, computed) = match self.link {
            Link::Known { stored, computed } => {
                let hash = after(&stored);
                // The event before may have another hash than is stored there: then this one tells which.
                let fits = hash == event.hash || (stored != computed && after(&computed) == event.hash);
                (fits, if fits { event.hash } else { hash })
            }
            Link::Unknown => (scanned.fits_checksum, event.hash),
        };
        if !fits {
            self.distrust(event.position.get());
            if event.hash != computed {
                findings.add(Violation::HashChain {
                    position: event.position.get(),
                    stream: event.stream.to_string(),
                    event_type: event.event_type.to_string(),
                    stored: event.hash,
                    computed,
                });
            }
        }
        self.link = Link::Known { stored: event.hash, computed };
        computed
    }
}

/// Checks the epochs as they are stored, and gives what positions can be looked up in.
pub(crate) fn lineage(epochs: &[ScannedEpoch], head: u64, findings: &mut Findings) -> Lineage {
    let mut report = |found: String| findings.add(Violation::Lineage { found });
    if epochs.is_empty() {
        report("there is no epoch at all".to_owned());
    }
    for (place, ScannedEpoch { ordinal, id, first, .. }) in (1_i64..).zip(epochs) {
        let before = usize::try_from(place - 2).ok().and_then(|index| epochs.get(index));
        if *ordinal != place {
            report(format!("epoch {id} has ordinal {ordinal}, {place} comes next"));
        }
        match before {
            None if *first != 1 => report(format!("the first epoch {id} begins at position {first}, not at 1")),
            Some(ScannedEpoch { first: earlier, .. }) if first < earlier => {
                report(format!("epoch {id} begins at position {first}, the one before it at {earlier}"));
            }
            _ => {}
        }
        if first.cast_unsigned() > head.saturating_add(1) {
            report(format!("epoch {id} begins at position {first}, the log ends at {head}"));
        }
    }
    let epochs = epochs
        .iter()
        .filter_map(|epoch| Some(model::Epoch { id: epoch.id, first: Position::new(epoch.first.cast_unsigned())? }));
    Lineage(epochs.collect())
}
