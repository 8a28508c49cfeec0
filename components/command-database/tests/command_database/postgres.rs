//! The distributed log, on a real server.

mod connections;
mod foresight;
pub(crate) mod given;
mod opening;
mod relaying;
mod roles;
mod several;
mod timelines;
mod whole;

use std::{collections::BTreeMap, sync::Arc};

use command_database::{EventStore, PostgresEventStore};
use parking_lot::Mutex;
use runtime::Runtime;
use testkit::conformance::event_store::{Place, failures};

use self::given::{Database, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_distributed_log_keeps_every_promise() {
    let databases = Mutex::new(BTreeMap::new());
    let open = async |place: Place| {
        let known = databases.lock().get(&place.directory).cloned();
        let url = match known {
            Some(url) => url,
            None => Database::migrated().await.url,
        };
        databases.lock().insert(place.directory, url.clone());
        let store = PostgresEventStore::open(config(&url), &place.runtime).await;
        Arc::new(store.expect("the log opens")) as Arc<dyn EventStore>
    };
    assert_eq!(failures(open, &Runtime::tokio()).await, []);
}
