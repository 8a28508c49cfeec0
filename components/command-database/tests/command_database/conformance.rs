use std::sync::Arc;

use command_database::EventStore;
use runtime::Runtime;
use testkit::conformance::event_store::{
    MemoryEventStore, Place,
    broken::{Disks, Flaw},
    failures, promises,
};

use crate::given::{ByHand, open_at};

#[tokio::test]
async fn the_embedded_log_keeps_every_promise() {
    assert_eq!(failures(open_at, &Runtime::tokio()).await, []);
}

#[tokio::test]
async fn the_embedded_log_keeps_every_promise_when_blocking_work_is_done_on_the_spot() {
    assert_eq!(failures(open_at, &ByHand::default().runtime()).await, []);
}

#[tokio::test]
async fn the_model_keeps_every_promise() {
    assert_eq!(broken_by(None).await, [""; 0]);
}

#[tokio::test]
async fn each_flaw_breaks_its_own_promise_and_no_other() {
    let mut others = Vec::new();
    for flaw in Flaw::ALL {
        let broken = broken_by(Some(*flaw)).await;
        if broken != [flaw.breaks()] {
            others.push((flaw, broken));
        }
    }
    assert_eq!(others, []);
}

#[test]
fn each_promise_has_a_flaw_that_breaks_it() {
    for promise in promises() {
        assert!(Flaw::ALL.iter().any(|flaw| flaw.breaks() == promise), "nothing breaks {promise}");
    }
}

async fn broken_by(flaw: Option<Flaw>) -> Vec<&'static str> {
    let disks = Disks::default();
    let open = |place: Place| {
        let store: Arc<dyn EventStore> = Arc::new(MemoryEventStore::open(&disks, &place, flaw));
        async move { store }
    };
    let failures = failures(open, &ByHand::default().runtime()).await;
    failures.iter().map(|failure| failure.test).collect()
}
