//! A command's events stand together, in order, and are as many as it made.

use command_database::ScannedEvent;
use model::CommandId;

use crate::{Violation, findings::Findings};

/// The command whose events are being passed.
struct Open {
    command: CommandId,
    stream: i64,
    declared: u32,
    found: u32,
}

#[derive(Default)]
pub(crate) struct Commands {
    open: Option<Open>,
    /// The last command that was found incomplete: said once.
    broken: Option<CommandId>,
    pub(crate) count: u64,
}

impl Commands {
    pub(crate) fn event(&mut self, scanned: &ScannedEvent, findings: &mut Findings) {
        let event = &scanned.event;
        let (position, index) = (event.position.get(), u32::try_from(scanned.command_index).unwrap_or(u32::MAX));
        if let Some(open) = &mut self.open {
            let goes_on = open.command == event.command_id
                && open.stream == scanned.stream_number
                && open.declared == event.command_events
                && open.found == index;
            if goes_on {
                open.found += 1;
                self.close_if_whole();
                return;
            }
            self.interrupt(position, findings);
        }
        let starts_well = index == 0 && event.command_events > 0;
        if !starts_well && self.broken != Some(event.command_id) {
            self.report(event.command_id, position, event.command_events, 0, findings);
        }
        self.count += u64::from(index == 0);
        self.open = Some(Open {
            command: event.command_id,
            stream: scanned.stream_number,
            declared: event.command_events,
            found: index.saturating_add(1),
        });
        self.close_if_whole();
    }

    /// Something else than the next event of the log is at `position`.
    pub(crate) fn interrupt(&mut self, position: u64, findings: &mut Findings) {
        if let Some(open) = self.open.take()
            && self.broken != Some(open.command)
        {
            self.report(open.command, position, open.declared, open.found, findings);
        }
    }

    fn close_if_whole(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.found >= open.declared) {
            self.open = None;
        }
    }

    fn report(&mut self, command: CommandId, position: u64, declared: u32, found: u32, findings: &mut Findings) {
        self.broken = Some(command);
        findings.add(Violation::CommandIncomplete { command, position, declared, found });
    }
}
