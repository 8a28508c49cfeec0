//! A snapshot is the state of its stream's first events.

use std::collections::{BTreeMap, btree_map::Entry};

use command_database::{LogScan, ScannedEvent, ScannedSnapshot};
use model::{Instance, Registry};

use crate::{Violation, findings::Findings, guard::guarded};

/// Snapshots compared with their streams, if there are more.
const SAMPLE_MAX: u64 = 1_000;

struct Sampled {
    snapshot: ScannedSnapshot,
    state: Box<dyn Instance>,
}

/// Taken before the log is read, so that each stream has all events that its snapshot speaks of.
#[derive(Default)]
pub(crate) struct Snapshots {
    by_stream: BTreeMap<i64, Sampled>,
    pub(crate) compared: u64,
    pub(crate) total: u64,
    pub(crate) of_other_shape: u64,
}

impl Snapshots {
    pub(crate) fn read(scan: &mut dyn LogScan, registry: &Registry, findings: &mut Findings) -> Self {
        let mut snapshots = Self::default();
        let (found, total) = match scan.snapshots(SAMPLE_MAX) {
            Ok(found) => found,
            Err(error) => {
                findings.unreadable("snapshots", error);
                return snapshots;
            }
        };
        snapshots.total = total;
        for snapshot in found {
            if !snapshot.fits_checksum {
                report(&snapshot, "it does not fit its checksum".to_owned(), findings);
                continue;
            }
            let aggregate = snapshot.stream.as_ref().and_then(|stream| registry.find_aggregate(&stream.aggregate));
            match aggregate.filter(|aggregate| aggregate.state_shape() == snapshot.state_shape) {
                Some(aggregate) => {
                    let state = aggregate.initial();
                    snapshots.by_stream.insert(snapshot.stream_number, Sampled { snapshot, state });
                }
                None => snapshots.of_other_shape += 1,
            }
        }
        snapshots
    }

    pub(crate) fn event(&mut self, scanned: &ScannedEvent, findings: &mut Findings) {
        if self.by_stream.is_empty() {
            return;
        }
        let Entry::Occupied(mut sampled) = self.by_stream.entry(scanned.stream_number) else { return };
        let event = &scanned.event;
        let state = &mut sampled.get_mut().state;
        if !matches!(guarded(|| state.evolve(&event.event_type, &event.payload)), Ok(Ok(()))) {
            // That the event cannot be read is said where it is decoded.
            sampled.remove();
        } else if event.version.get().cast_signed() == sampled.get().snapshot.version {
            let Sampled { snapshot, state } = sampled.remove();
            self.compared += 1;
            compare(&snapshot, state.as_ref(), findings);
        }
    }

    /// A stream's events are in doubt: so is what its snapshot should be.
    pub(crate) fn forget(&mut self, stream_number: i64) {
        self.by_stream.remove(&stream_number);
    }

    pub(crate) fn finish(&mut self, log_is_whole: bool, findings: &mut Findings) {
        for sampled in std::mem::take(&mut self.by_stream).into_values() {
            if log_is_whole {
                report(&sampled.snapshot, "its stream ends before that version".to_owned(), findings);
            }
        }
    }
}

fn compare(snapshot: &ScannedSnapshot, state: &dyn Instance, findings: &mut Findings) {
    let Ok(folded) = guarded(|| state.snapshot()) else { return };
    if folded == snapshot.state {
        return;
    }
    // The order of a map's keys is no difference.
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    if value(&folded).is_some() && value(&folded) == value(&snapshot.state) {
        return;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(200).collect::<String>();
    report(
        snapshot,
        format!("it holds {}, the stream's events make {}", text(&snapshot.state), text(&folded)),
        findings,
    );
}

fn report(snapshot: &ScannedSnapshot, found: String, findings: &mut Findings) {
    let stream = snapshot.stream.as_ref();
    let stream =
        stream.map_or_else(|| format!("stream number {}", snapshot.stream_number), |stream| stream.to_string());
    findings.add(Violation::Snapshot { stream, version: snapshot.version, found });
}
