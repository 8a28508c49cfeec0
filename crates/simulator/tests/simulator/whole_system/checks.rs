//! What must be true of the log, the answers and the rows.

use std::collections::BTreeMap;

use command_database::{EventStore, ReadLimit, verify_link};
use command_service::CommandOutcome;
use model::{Hash, Position, StoredEvent, StreamId, Tenant};
use query_database::{List, ListRead, RowReader};
use uuid::Uuid;

use super::{client::Sent, world::World};

const ALL: ReadLimit = ReadLimit { events_max: usize::MAX, bytes_max: usize::MAX };
const LEDGER: &str = "ledger";

async fn events_of(world: &World) -> Vec<StoredEvent> {
    world.log().read(None, ALL).await.expect("the log can be read")
}

/// Positions and versions are dense, and each event follows on the one before by its hash.
fn expect_sound(events: &[StoredEvent]) {
    let (mut last, mut hash) = (None, Hash::default());
    let mut versions = BTreeMap::<&StreamId, u64>::new();
    for event in events {
        assert_eq!(event.position, Position::after(last), "positions are dense");
        let version = versions.entry(&event.stream).or_default();
        *version += 1;
        assert_eq!(event.version.get(), *version, "versions of {} are dense", event.stream);
        assert!(verify_link(&hash, event), "the event at {} follows on the one before", event.position);
        (last, hash) = (Some(event.position), event.hash);
    }
}

/// What was accepted is in the log once, where the client was told; what was refused is not; of what nobody answered there
/// is all or nothing; and there is nothing else.
pub(super) fn expect_as_told(sent: &[Sent], events: &[StoredEvent]) {
    let mut found = BTreeMap::<Uuid, Vec<&StoredEvent>>::new();
    for event in events {
        found.entry(event.metadata.correlation).or_default().push(event);
    }
    for Sent { tag, events: whole, outcome, .. } in sent {
        let written = found.remove(tag).unwrap_or_default();
        match outcome {
            Some(CommandOutcome::Accepted { command_id, events: told, .. }) => {
                assert_eq!(written.len(), *whole, "an accepted command is in the log once");
                assert_eq!(told.len(), *whole, "the answer names all events");
                for (told, event) in told.iter().zip(&written) {
                    let is_told = (told.id, told.position, told.version, *command_id);
                    assert_eq!(is_told, (event.event_id, event.position, event.version, event.command_id));
                }
            }
            Some(_) => assert!(written.is_empty(), "a refused command has no events"),
            None => {
                assert!(written.is_empty() || written.len() == *whole, "a command is written as a whole or not at all");
            }
        }
        let adjacent = |pair: &[&StoredEvent]| pair[1].position == pair[0].position.next();
        assert!(written.windows(2).all(adjacent), "the events of one command lie together");
    }
    assert!(found.is_empty(), "nobody asked for {found:?}");
}

/// The log is sound, and the rows are its fold up to their checkpoint, whatever that is: each event once and in order.
/// Returns the log.
pub(super) async fn expect_sound_and_exact(world: &World) -> Vec<StoredEvent> {
    // First the rows: a process that runs meanwhile may add to the log.
    let read = rows_of(world).await;
    let events = events_of(world).await;
    expect_sound(&events);
    if let Some(read) = read {
        expect_exact(read, &events);
    }
    events
}

/// Nothing where the read model was never made, or that was lost with the power.
async fn rows_of(world: &World) -> Option<ListRead> {
    let serving = match world.rows().serving(LEDGER).await {
        Ok(serving) => serving,
        Err(query_database::Error::NotServing { .. }) => return None,
        Err(error) => panic!("the rows cannot be read: {error}"),
    };
    let list = List {
        generation: serving.generation,
        tenant: Tenant::default(),
        filters: Vec::new(),
        order: Vec::new(),
        after: None,
        rows_max: 100,
    };
    Some(world.rows().list(LEDGER, list).await.expect("the rows can be read").expect("the generation serves"))
}

fn expect_exact(read: ListRead, events: &[StoredEvent]) {
    assert!(!read.more, "all rows fit into one page");
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).expect("rows are text");
    let rows: BTreeMap<String, String> = read.rows.into_iter().map(|row| (row.start.key, text(&row.body))).collect();
    let folded = usize::try_from(Position::count(read.checkpoint.position)).expect("few events");
    assert!(folded <= events.len(), "the checkpoint {folded} is past the end of the log, {}", events.len());
    assert_eq!(rows, ledger_of(&events[..folded]), "the rows at checkpoint {folded} of {}", events.len());
}

/// The ledger by hand, and its rows as they are stored.
fn ledger_of(events: &[StoredEvent]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::<String, (String, u64)>::new();
    for event in events {
        for key in ["log/all".to_owned(), event.stream.to_string()] {
            let (h, n) = rows.entry(key).or_default();
            let chained = [h.as_bytes(), event.event_id.0.as_bytes()].concat();
            (*h, *n) = (Hash::of(&chained).to_string(), *n + 1);
        }
    }
    let row = |(key, (h, n))| (key, format!("{{\"h\":\"{h}\",\"n\":{n}}}"));
    rows.into_iter().map(row).collect()
}
