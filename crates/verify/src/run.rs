//! The order in which everything is looked at: rows first, so that the log, which only grows, has all they contain.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use command_database::{LogScan, Marks, ReadLimit, Scanned, ScannedEvent, SqliteLogScan};
use model::{DecodeError, Recorded, Registry};

use crate::{
    Error, LogReport, Report, Rows, Violation,
    findings::Findings,
    generations::{self, Generation},
    guard::guarded,
    log::{LogCheck, lineage},
    records,
    report::chain,
    snapshots::Snapshots,
};

/// Events read and folded at a time: enough that a row which many events touch is written out seldom.
const SLICE: ReadLimit = ReadLimit { events_max: 16_384, bytes_max: 16 << 20 };
/// Attempts to read on behind a part of the file that cannot be read, each twice as far behind it.
const SKIPS_MAX: u32 = 40;

/// Verifies the log in the file `log` and the rows in the file `rows` by the code in `registry`. As [`run_on`].
///
/// # Errors
/// [`Error`] when one of the files is not there, is not one of Diptych's, or cannot be read at all.
pub fn run(log: &Path, rows: &Path, registry: &Registry) -> Result<Report, Error> {
    present("log", log)?;
    present("query database", rows)?;
    let mut scan = SqliteLogScan::open(log).map_err(|source| Error::Log { log: log.display().to_string(), source })?;
    let rows_error = |source| Error::Rows { rows: rows.display().to_string(), source };
    run_on(&mut scan, Rows::in_file(rows).map_err(rows_error)?, registry)
}

/// Verifies `log` and `rows` by the code in `registry`.
///
/// Reads only, beside a running system or without one, and blocks until it is done. What is appended while it runs is checked
/// as part of the log; rows are compared as they were when they were read.
/// # Errors
/// [`Error`] when the log or the rows cannot be read at all, or a server is lost on the way.
pub fn run_on(log: &mut dyn LogScan, rows: Rows, registry: &Registry) -> Result<Report, Error> {
    let stopwatch = Stopwatch::start();
    let name = log.name();
    let rows_name = rows.name().to_owned();
    let mut findings = Findings::default();
    let generations = generations::read(&rows, registry, &mut findings)
        .map_err(|source| Error::Rows { rows: rows_name.clone(), source })?;
    drop(rows);
    let snapshots = Snapshots::read(log, registry, &mut findings);
    let marks = log.marks().unwrap_or_else(|error| {
        findings.unreadable("stream_marks", error);
        Marks::NotKept
    });
    let check = LogCheck::new(&marks);
    let mut pass = Pass { scan: log, registry, generations, findings, check, snapshots };
    let log_report = LogReport { name: name.clone(), ..pass.run() };
    if let Some(source) = pass.findings.lost.take() {
        return Err(Error::Log { log: name, source });
    }
    let generations = pass.generations.into_iter().map(|generation| generation.report).collect();
    Ok(Report::new(log_report, rows_name, generations, pass.findings, stopwatch.read()))
}

fn present(what: &'static str, path: &Path) -> Result<(), Error> {
    if path.is_file() { Ok(()) } else { Err(Error::Missing { what, path: path.to_owned() }) }
}

/// One pass over the log.
struct Pass<'a> {
    scan: &'a mut dyn LogScan,
    registry: &'a Registry,
    generations: Vec<Generation>,
    findings: Findings,
    check: LogCheck,
    snapshots: Snapshots,
}

impl Pass<'_> {
    fn run(&mut self) -> LogReport {
        let after = self.read_on(0);
        // What is kept beside the events is compared with all of them: on one state of the log, which by now is near.
        let began = self.scan.begin();
        self.read_on(after);
        let epochs = self.scan.epochs().unwrap_or_else(|error| {
            self.findings.unreadable("lineage", error);
            Vec::new()
        });
        let head = self.check.head;
        let lineage = lineage(&epochs, head, &mut self.findings);
        self.check.commands.interrupt(head + 1, &mut self.findings);
        self.check.streams.finish(self.scan, &mut self.findings);
        match self.scan.head() {
            Ok(kept) => self.check.end(kept, &mut self.findings),
            Err(error) => self.findings.unreadable("log_head", error),
        }
        if let Err(error) = began.and_then(|()| self.scan.end()) {
            self.findings.unreadable("streams", error);
        }
        let idempotency_records = records::check(self.scan, &mut self.findings);
        self.snapshots.finish(self.check.untrusted.is_none(), &mut self.findings);
        for generation in &mut self.generations {
            generation.finish(head, &lineage, self.check.untrusted, &mut self.findings);
        }
        LogReport {
            name: String::new(),
            head,
            events: self.check.events,
            commands: self.check.commands.count,
            streams: self.check.streams.count,
            epochs: epochs.len() as u64,
            idempotency_records,
            snapshots: self.snapshots.total,
            snapshots_compared: self.snapshots.compared,
            snapshots_of_other_shape: self.snapshots.of_other_shape,
        }
    }

    /// Reads to the end of the log. Returns the last position that was read.
    fn read_on(&mut self, mut after: i64) -> i64 {
        if after == 0 {
            // Whatever stands where nothing can is met first.
            after = i64::MIN;
        }
        let mut skips = 0;
        loop {
            let slice = self.scan.events(after, SLICE);
            let last = slice.events.last().map(|scanned| match scanned {
                Scanned::Event(event) => event.event.position.get().cast_signed(),
                Scanned::Unreadable { position, .. } => *position,
            });
            if let Some(last) = last {
                (after, skips) = (last, 0);
                self.slice(slice.events);
            }
            match slice.failed {
                None if last.is_none() => return after.max(0),
                None => {}
                Some(_) if skips == SKIPS_MAX => return after.max(0),
                Some(error) if self.findings.is_loss(&error) => {
                    self.findings.lost.get_or_insert(error);
                    return after.max(0);
                }
                Some(error) => {
                    if skips == 0 {
                        self.check.distrust(after.max(0).cast_unsigned() + 1);
                        self.findings.add(Violation::LogUnreadable { after: after.max(0), found: chain(&error) });
                    }
                    after = after.max(0).saturating_add(1 << skips);
                    skips += 1;
                }
            }
        }
    }

    fn slice(&mut self, scanned: Vec<Scanned>) {
        let mut events = Vec::with_capacity(scanned.len());
        for scanned in scanned {
            let Some((event, computed)) = self.check.pass(scanned, &mut self.findings) else { continue };
            let position = event.event.position.get();
            for generation in &mut self.generations {
                generation.event(position, event.event.hash, computed);
            }
            let (stream_number, trusted) = (event.stream_number, self.check.untrusted.is_none_or(|at| at > position));
            if trusted {
                self.snapshots.event(&event, &mut self.findings);
            } else {
                self.snapshots.forget(stream_number);
            }
            // What is wrong with its bytes is said already: it says nothing of this binary.
            let is_reported = !event.fits_checksum;
            match self.decode(*event, is_reported) {
                // After the first event that is in doubt every fold is.
                Some(decoded) if self.check.untrusted.is_none() => events.push(Arc::new(decoded)),
                Some(_) => {}
                None => self.check.distrust(position),
            }
        }
        for generation in &mut self.generations {
            if let Some(fold) = &mut generation.fold {
                fold.advance(&events, &mut self.findings);
            }
        }
    }

    fn decode(&mut self, scanned: ScannedEvent, is_reported: bool) -> Option<Recorded> {
        let position = scanned.event.position.get();
        let event_type = scanned.event.event_type.to_string();
        let decoded = guarded(|| self.registry.decode(scanned.event));
        let violation = match decoded {
            Ok(Ok(decoded)) => return Some(decoded),
            Ok(Err(DecodeError::UnknownType { .. })) => Violation::UnknownEvent { position, event_type },
            Ok(Err(error)) => Violation::Payload { position, event_type, found: chain(&error) },
            Err(found) => Violation::Payload { position, event_type, found },
        };
        if !(is_reported && matches!(violation, Violation::Payload { .. })) {
            self.findings.add(violation);
        }
        None
    }
}

/// How long it took, for people.
struct Stopwatch(Instant);

#[allow(clippy::disallowed_methods, reason = "verify is a tool beside the boxes: no simulated time passes in it")]
impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn read(&self) -> Duration {
        self.0.elapsed()
    }
}
