//! What must be true of the log, the answers and the rows.

use std::{collections::BTreeMap, sync::Arc};

use command_database::{EventStore, ReadLimit, verify_link};
use command_service::CommandOutcome;
use model::{Hash, Position, StoredEvent, StreamId};
use query_database::{RowScan, ScannedGeneration};
use uuid::Uuid;

use super::{client::Sent, world::World};
use crate::domain::Fold;

const ALL: ReadLimit = ReadLimit { events_max: usize::MAX, bytes_max: usize::MAX };

async fn events_of(world: &World) -> Vec<Arc<StoredEvent>> {
    world.log().read(None, ALL).await.expect("the log can be read")
}

/// Positions and versions are dense, and each event follows on the one before by its hash.
fn expect_sound(events: &[Arc<StoredEvent>]) {
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
pub(super) fn expect_as_told(sent: &[Sent], events: &[Arc<StoredEvent>]) {
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

/// The log is sound, and the rows of every generation are its fold up to their checkpoint, whatever that is: each event once
/// and in order. Returns the log.
pub(super) async fn expect_sound_and_exact(world: &World) -> Vec<Arc<StoredEvent>> {
    // First the rows: a process that runs meanwhile may add to the log.
    let generations = generations_of(world);
    let events = events_of(world).await;
    expect_sound(&events);
    for generation in generations {
        expect_exact(&generation, &events);
    }
    events
}

struct Stored {
    of: ScannedGeneration,
    folded: usize,
    rows: BTreeMap<String, String>,
}

/// None where no read model was ever made, or they were lost with the power.
fn generations_of(world: &World) -> Vec<Stored> {
    let scan = RowScan::open(&world.rows_path()).expect("the rows can be opened");
    let stored = |of: ScannedGeneration| {
        let read_model = of.read_model.as_ref().expect("it was declared");
        let mut rows = BTreeMap::new();
        let checkpoint = scan.rows(of.generation, read_model, |row| {
            let row = row.expect("the row can be read");
            rows.insert(row.key.key.to_string(), String::from_utf8_lossy(row.body).into_owned());
        });
        let checkpoint = checkpoint.expect("the rows can be read").expect("it has a checkpoint");
        Stored { folded: usize::try_from(checkpoint.position).expect("few events"), rows, of }
    };
    scan.generations().expect("the generations can be read").into_iter().map(stored).collect()
}

fn expect_exact(stored: &Stored, events: &[Arc<StoredEvent>]) {
    let Stored { of, folded, rows } = stored;
    let which = format!("{} version {}, at checkpoint {folded} of {}", of.name, of.version, events.len());
    assert!(*folded <= events.len(), "past the end of the log: {which}");
    assert_eq!(*rows, Fold::new(&of.name, of.version).after(events, *folded), "{which}");
}
