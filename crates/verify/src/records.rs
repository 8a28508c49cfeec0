//! What is remembered under idempotency keys is what was written, and what the log has.

use command_database::{LogScan, ScannedRecord, StoredDecision};
use model::{Hash, Position};

use crate::{Violation, findings::Findings};

/// Records read at a time: a read must not keep the log's writer from reusing its space.
const SLICE: u32 = 10_000;

/// Returns how many there are.
pub(crate) fn check(scan: &mut dyn LogScan, findings: &mut Findings) -> u64 {
    let (mut after, mut count) = (Hash::default(), 0);
    loop {
        let records = match scan.records(after, SLICE) {
            Ok(records) => records,
            Err(error) => {
                findings.unreadable("idempotency", error);
                return count;
            }
        };
        let Some(last) = records.last() else { return count };
        after = last.key;
        count += records.len() as u64;
        for record in records {
            if let Some(found) = wrong(&record) {
                findings.add(Violation::IdempotencyRecord { key: record.key.to_string(), found });
            }
        }
    }
}

fn wrong(scanned: &ScannedRecord) -> Option<String> {
    let record = match &scanned.record {
        Err(found) => return Some(format!("it cannot be read: {found}")),
        Ok((_, false)) => return Some("it does not fit its checksum".to_owned()),
        Ok((record, true)) => record,
    };
    let StoredDecision::Accepted { first: Some(first), events, .. } = &record.decision else { return None };
    let expected = (record.command_id, *events);
    (scanned.at_first != Some(expected)).then(|| said_and_found(*first, expected, scanned.at_first))
}

fn said_and_found(
    first: Position,
    expected: (model::CommandId, u32),
    found: Option<(model::CommandId, u32)>,
) -> String {
    let (command, events) = expected;
    let said = format!("it says that command {command} made {events} events from position {first} on");
    match found {
        None => format!("{said}, no command's first event is there"),
        Some((command, events)) => format!("{said}, there {command} made {events}"),
    }
}
