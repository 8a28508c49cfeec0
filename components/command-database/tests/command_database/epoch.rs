//! A log that begins another life.

use std::sync::Arc;

use command_database::{EventStore, Outcome, ReadLimit, SqliteEventStore, verify_link};
use model::{Epoch, Hash, Lineage, Position, StoredEvent};
use runtime::Runtime;

use crate::given::{Given, load};

async fn append(given: &Given, store: &SqliteEventStore, stream: &str) -> Outcome {
    store.append(vec![given.append(stream, "1")]).await.expect("an append").remove(0)
}

async fn events(store: &SqliteEventStore) -> Vec<Arc<StoredEvent>> {
    store.read(None, ReadLimit::default()).await.expect("a read")
}

async fn lineage(store: &SqliteEventStore) -> Vec<Epoch> {
    let Lineage(epochs) = store.lineage().await.expect("the lineage");
    epochs
}

#[tokio::test]
async fn what_comes_after_the_beginning_of_an_epoch_belongs_to_it() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    append(&given, &store, "a").await;
    append(&given, &store, "b").await;
    let before = lineage(&store).await;
    let begun = store.begin_epoch().await.expect("another life");
    assert_eq!(begun.first, Position::FIRST.plus(2));
    assert_eq!(lineage(&store).await, [before[0], begun]);
    let Outcome::Committed { epoch, .. } = append(&given, &store, "a").await else { panic!("it is committed") };
    assert_eq!(epoch, begun.id);
    assert_eq!(store.head().await.expect("the head").epoch, begun.id);
    drop(store);

    let store = given.open();
    assert_eq!(lineage(&store).await, [before[0], begun], "it is durable");
    append(&given, &store, "a").await;
    let events = events(&store).await;
    let epochs: Vec<_> = events.iter().map(|event| event.epoch).collect();
    assert_eq!(epochs, [before[0].id, before[0].id, begun.id, begun.id]);
    let mut hash = Hash::default();
    for event in &events {
        assert!(verify_link(&hash, event), "the chain goes on through the fork");
        hash = event.hash;
    }
    let loaded = store.load(vec![load("a")], ReadLimit::default()).await.expect("a stream").remove(0);
    assert_eq!(loaded.events.len(), 3, "streams go on through the fork");
}

#[tokio::test]
async fn an_epoch_can_begin_before_the_first_event_and_twice_at_one_position() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    let first = lineage(&store).await[0];
    let second = store.begin_epoch().await.expect("another life");
    let third = store.begin_epoch().await.expect("another life");
    assert_eq!(lineage(&store).await, [first, second, third]);
    assert_eq!([second.first, third.first], [Position::FIRST; 2]);
    append(&given, &store, "a").await;
    assert_eq!(events(&store).await[0].epoch, third.id);
}

#[tokio::test]
async fn two_restores_of_one_copy_are_told_apart() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    append(&given, &store, "a").await;
    drop(store);
    let copy = std::fs::read(given.path()).expect("the log's bytes");
    let mut begun = Vec::new();
    for _ in 0..2 {
        std::fs::write(given.path(), &copy).expect("the copy in the log's place");
        let store = given.open();
        begun.push(store.begin_epoch().await.expect("another life"));
        append(&given, &store, "a").await;
        drop(store);
    }
    assert_eq!(begun[0].first, begun[1].first);
    assert_ne!(begun[0].id, begun[1].id);
}
