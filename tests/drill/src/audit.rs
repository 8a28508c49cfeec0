//! Whether what clients were told, the log and the rows agree. Nothing of it asks the system what it thinks of itself; only at
//! the end the application's own `verify` has to agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use command_database::{EventStore, PostgresConfig, PostgresEventStore, ReadLimit, verify_link};
use model::{Hash, Position, StoredEvent, encode_part};
use testkit::domain::Ledger;
use uuid::Uuid;

use crate::{
    client::Client,
    history::{Accepted, Operation, Outcome},
    report::Report,
    stage::{Stage, Trouble},
    verify,
};

/// How long rows may take to contain all of the log once nothing is written any more.
const ROWS_WAIT: Duration = Duration::from_secs(120);
/// Clients that compare rows.
const READERS: usize = 8;

/// A log, read from its beginning.
pub(crate) struct Log {
    pub(crate) events: Vec<Arc<StoredEvent>>,
    /// What is wrong with it by itself.
    flaws: Vec<String>,
}

impl Log {
    pub(crate) async fn read(url: &str) -> Result<Self, Trouble> {
        let store = PostgresEventStore::open(PostgresConfig::new(url), &runtime::Runtime::tokio()).await?;
        let mut events: Vec<Arc<StoredEvent>> = Vec::new();
        loop {
            let after = events.last().map(|event| event.position);
            let read = store.read(after, ReadLimit::default()).await?;
            if read.is_empty() {
                break;
            }
            events.extend(read);
        }
        let flaws = flaws(&events);
        Ok(Self { events, flaws })
    }

    fn commands(&self) -> BTreeMap<Uuid, Vec<u64>> {
        let mut commands = BTreeMap::<Uuid, Vec<u64>>::new();
        for event in &self.events {
            commands.entry(event.command_id.0).or_default().push(event.position.get());
        }
        commands
    }

    /// The ledger's rows, as they have to be.
    fn ledger(&self) -> BTreeMap<String, Ledger> {
        let mut rows = BTreeMap::<String, Ledger>::new();
        for event in &self.events {
            for key in [ALL.to_owned(), row_of(event)] {
                let row = rows.remove(&key).unwrap_or_default().after(event.event_id);
                rows.insert(key, row);
            }
        }
        rows
    }
}

/// Positions from 1 and versions from 1 without a gap, a chain that goes through, commands whole and in one piece.
fn flaws(events: &[Arc<StoredEvent>]) -> Vec<String> {
    let mut flaws = Vec::new();
    let (mut previous, mut versions) = ((None, Hash::default()), BTreeMap::new());
    for event in events {
        let position = event.position;
        if position != Position::after(previous.0) {
            flaws.push(format!("position {position} does not follow on the one before it"));
        }
        if !verify_link(&previous.1, event) {
            flaws.push(format!("the chain breaks at position {position}"));
        }
        let version = versions.entry(event.stream.clone()).or_insert(0);
        *version += 1;
        if event.version.get() != *version {
            flaws.push(format!("position {position} is version {} of its stream, not {version}", event.version));
        }
        previous = (Some(position), event.hash);
    }
    for command in events.chunk_by(|one, next| one.command_id == next.command_id) {
        if command.len() != command[0].command_events as usize {
            flaws.push(format!("a command of {} events has {}", command[0].command_events, command.len()));
        }
    }
    flaws
}

/// What clients were told against what the log has.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) acknowledged: usize,
    /// Acknowledged, and not in the log.
    pub(crate) lost: Vec<Accepted>,
    /// Acknowledged, and at other positions than were told.
    moved: usize,
    /// In the log, and nobody's: what was applied a second time under another id, or in spite of a refusal.
    unexplained: usize,
    /// Never resolved.
    unknown: usize,
    refused: BTreeSet<String>,
}

impl Account {
    pub(crate) fn new(history: &[Operation], log: &Log) -> Self {
        let mut commands = log.commands();
        let mut account = Self::default();
        for operation in history {
            match &operation.outcome {
                Outcome::Accepted(accepted) => {
                    account.acknowledged += 1;
                    match commands.remove(&accepted.command) {
                        None => account.lost.push(accepted.clone()),
                        Some(positions) => account.moved += usize::from(positions != accepted.positions),
                    }
                }
                Outcome::Refused(said) => drop(account.refused.insert(said.clone())),
                Outcome::Unknown => account.unknown += 1,
            }
        }
        account.unexplained = commands.len();
        account
    }

    /// Notes that what was acknowledged is there once, and nothing else is. An unknown outcome may be there.
    pub(crate) fn note(&self, report: &mut Report) {
        self.note_all_but_loss(report);
        report.promise("acknowledged commands lost", self.lost.is_empty(), self.lost.len(), "0");
    }

    pub(crate) fn note_all_but_loss(&self, report: &mut Report) {
        let Self { acknowledged, moved, unexplained, unknown, refused, .. } = self;
        report.tell("acknowledged commands", acknowledged);
        report.promise("at other positions than were told", *moved == 0, moved, "0");
        report.promise(
            "in the log and acknowledged to nobody",
            unexplained <= unknown,
            unexplained,
            "0: nothing twice",
        );
        report.promise("outcomes that stayed unknown", *unknown == 0, unknown, "0");
        let said = refused.iter().cloned().collect::<Vec<_>>().join(", ");
        report.promise("refused", refused.is_empty(), if said.is_empty() { "none" } else { &said }, "none");
    }
}

/// Compares what clients were told, with `history` on top of it, with the log and the rows, and notes what holds. Whatever was
/// disturbed has to be back before.
pub(crate) fn everything(stage: &mut Stage, history: Vec<Operation>, report: &mut Report) -> Result<Log, Trouble> {
    stage.history.extend(history);
    let log = stage.block_on(Log::read(&stage.system.log.url("postgres")))?;
    Account::new(&stage.history, &log).note(report);
    log_and_rows(stage, &log, report)?;
    Ok(log)
}

/// Notes whether the log is whole, and the rows are its fold: all that have changed since that was last looked at. Then
/// whether the application's own `verify` agrees, which looks at everything.
pub(crate) fn log_and_rows(stage: &mut Stage, log: &Log, report: &mut Report) -> Result<(), Trouble> {
    let said = log.flaws.first().map_or("dense, chained, whole", |flaw| flaw);
    report.promise("the log's positions, versions, chain, commands", log.flaws.is_empty(), said, "no flaw");
    let changed: BTreeSet<String> = log.events[stage.compared.min(log.events.len())..].iter().map(row_of).collect();
    let mut rows = log.ledger();
    rows.retain(|key, _| key == ALL || changed.contains(key));
    let count = rows.len();
    let (differing, waited) = stage.block_on(compare(stage, rows))?;
    stage.compared = log.events.len();
    let said = match differing.first() {
        None => format!("{count} rows, level after {:.1} s", waited.as_secs_f64()),
        Some(first) => format!("{} of {count} differ, such as {first}", differing.len()),
    };
    report.promise("the rows are the fold of the log", differing.is_empty(), said, "every row, event by event");
    verify::passes(stage, log.events.len(), report)
}

/// The key of the row for the whole log.
const ALL: &str = "log/all";

/// The key of the row that has the event's stream.
fn row_of(event: &Arc<StoredEvent>) -> String {
    format!("account/{}", encode_part(&event.stream.id))
}

/// The rows that differ, once the ledger of the whole log is level or does not get there.
async fn compare(stage: &Stage, rows: BTreeMap<String, Ledger>) -> Result<(Vec<String>, Duration), Trouble> {
    let began = Instant::now();
    let all = rows.get(ALL).map_or(0, |ledger| ledger.n);
    let mut client = Client::new(stage.api);
    while began.elapsed() < ROWS_WAIT {
        let answer = client.get(&format!("/queries/ledger/{ALL}"), &[]).await;
        if answer.is_ok_and(|answer| answer.json()["n"] == all) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waited = began.elapsed();
    let rows: Vec<(String, Ledger)> = rows.into_iter().collect();
    let parts = rows.chunks(rows.len().div_ceil(READERS).max(1)).map(<[_]>::to_vec);
    let comparing: Vec<_> = parts.map(|part| tokio::spawn(differing(stage.api, part))).collect();
    let mut all = Vec::new();
    for part in comparing {
        all.extend(part.await?);
    }
    Ok((all, waited))
}

async fn differing(api: std::net::SocketAddr, rows: Vec<(String, Ledger)>) -> Vec<String> {
    let (mut client, mut differing) = (Client::new(api), Vec::new());
    for (key, expected) in rows {
        let answer = client.get(&format!("/queries/ledger/{key}"), &[]).await;
        let found = answer.ok().and_then(|answer| serde_json::from_slice::<Ledger>(&answer.body).ok());
        if found.as_ref() != Some(&expected) {
            differing.push(format!("{key}: {found:?}, not {expected:?}"));
        }
    }
    differing
}
