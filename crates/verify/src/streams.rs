//! Each stream's versions, the links between its events, and what is kept about it beside them.

use std::collections::BTreeMap;

use command_database::{LogScan, Marks, Previous, ScannedEvent, ScannedMark, ScannedStream};

use crate::{Violation, findings::Findings};

/// How far a stream has come. Nothing but this is kept of it: 16 bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Reached {
    version: u64,
    last: u64,
}

impl Reached {
    /// Whether the table of streams may say `stored` of a stream that came so far, having all that came up to `position`.
    fn may_be_stored_as(self, stored: Self, position: u64) -> bool {
        self == stored || (self.last > position && stored.version <= self.version && stored.last <= self.last)
    }
}

#[derive(Default)]
pub(crate) struct Streams {
    /// By number: streams are numbered from 1 in the order of their first events.
    dense: Vec<Reached>,
    /// Numbers that no stream can have yet where they are met: only a damaged log has them.
    strange: BTreeMap<i64, Reached>,
    marks: Vec<ScannedMark>,
    /// Versions from one mark to the next; `None` in a log without marks.
    mark_every: Option<u64>,
    events: u64,
    pub(crate) count: u64,
}

impl Streams {
    /// For a log that has these marks.
    pub(crate) fn new(marks: &Marks) -> Self {
        let mark_every = match marks {
            Marks::NotKept => None,
            Marks::Kept { every, .. } => Some(*every),
        };
        Self { mark_every, ..Self::default() }
    }

    pub(crate) fn event(&mut self, scanned: &ScannedEvent, findings: &mut Findings) {
        let event = &scanned.event;
        let (position, version) = (event.position.get(), event.version.get());
        self.events += 1;
        let number = scanned.stream_number;
        let reached = self.reached(number);
        let before = std::mem::replace(reached, Reached { version, last: position });
        self.count += u64::from(before == Reached::default());
        if version != before.version + 1 {
            findings.add(Violation::Version {
                position,
                stream: event.stream.to_string(),
                expected: before.version + 1,
                found: version,
            });
        }
        self.previous(scanned, (before.last > 0).then_some(before.last), findings);
        if let Some(every) = self.mark_every
            && version.is_multiple_of(every)
        {
            let (version, position) = (version.cast_signed(), position.cast_signed());
            self.marks.push(ScannedMark { stream: number, version, position });
        }
    }

    fn previous(&self, scanned: &ScannedEvent, expected: Option<u64>, findings: &mut Findings) {
        let found = match scanned.previous {
            Previous::NotKept => return,
            Previous::None => None,
            Previous::At(position) => Some(position),
        };
        if found.map(i64::cast_unsigned) != expected {
            let (position, stream) = (scanned.event.position.get(), scanned.event.stream.to_string());
            findings.add(Violation::PreviousLink { position, stream, expected, found });
        }
    }

    fn reached(&mut self, number: i64) -> &mut Reached {
        // A damaged number must not decide how much memory is taken.
        let possible = usize::try_from(number).ok().filter(|number| *number as u64 <= self.events);
        match possible {
            Some(index) => {
                if index >= self.dense.len() {
                    self.dense.resize(index + 1, Reached::default());
                }
                &mut self.dense[index]
            }
            None => self.strange.entry(number).or_default(),
        }
    }

    fn seen(&self, number: i64) -> Reached {
        let dense = usize::try_from(number).ok().and_then(|index| self.dense.get(index)).copied();
        match dense {
            Some(reached) if reached != Reached::default() => reached,
            _ => self.strange.get(&number).copied().unwrap_or_default(),
        }
    }

    /// Compares with what is kept beside the events. All events have been seen, and `scan` stands on that state.
    pub(crate) fn finish(&mut self, scan: &mut dyn LogScan, findings: &mut Findings) {
        let mut wrong = Vec::new();
        let mut next = 1;
        let read = scan.streams_position().and_then(|position| {
            let position = position.cast_unsigned();
            let is_wrong = |stream: &ScannedStream| {
                let stored = Reached { version: stream.version.cast_unsigned(), last: stream.last.cast_unsigned() };
                !self.seen(stream.number).may_be_stored_as(stored, position)
            };
            let read = scan.streams(&mut |stream| {
                // Their names are asked for afterwards.
                wrong.extend((next..stream.number).map(absent).filter(is_wrong));
                next = stream.number.saturating_add(1);
                wrong.extend(Some(stream).filter(is_wrong));
                wrong.truncate(WRONG_MAX);
            });
            wrong.extend((next..self.dense.len() as i64).map(absent).filter(is_wrong));
            read
        });
        for stream in wrong {
            let seen = self.seen(stream.number);
            findings.add(Violation::Stream {
                stream: scan.stream_name(stream.number),
                version: stream.version,
                position: stream.last,
                version_in_log: seen.version,
                position_in_log: seen.last,
            });
        }
        if let Err(error) = read {
            findings.unreadable("streams", error);
        }
        self.finish_marks(scan, findings);
    }

    fn finish_marks(&mut self, scan: &mut dyn LogScan, findings: &mut Findings) {
        let stored = match scan.marks() {
            Ok(Marks::Kept { marks, .. }) => marks,
            Ok(Marks::NotKept) => return,
            Err(error) => return findings.unreadable("stream_marks", error),
        };
        let by_event = |marks: &[ScannedMark]| -> BTreeMap<(i64, i64), i64> {
            marks.iter().map(|mark| ((mark.stream, mark.version), mark.position)).collect()
        };
        let (expected, stored) = (by_event(&self.marks), by_event(&stored));
        let mut report = |event: (i64, i64), expected: Option<i64>, found: Option<i64>| {
            let expected = expected.map(i64::cast_unsigned);
            findings.add(Violation::StreamMark { stream: event.0, version: event.1, expected, found });
        };
        for (event, position) in &expected {
            let found = stored.get(event).copied();
            if found != Some(*position) {
                report(*event, Some(*position), found);
            }
        }
        for (event, position) in stored.iter().filter(|(event, _)| !expected.contains_key(event)) {
            report(*event, None, Some(*position));
        }
    }
}

/// Wrong streams that are remembered until the table is read.
const WRONG_MAX: usize = 10_000;

fn absent(number: i64) -> ScannedStream {
    ScannedStream { number, version: 0, last: 0 }
}
