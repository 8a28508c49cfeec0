use bytes::Bytes;
use command_database::{Load, Loaded, ReadLimit, Snapshot};
use model::StreamVersion;

use super::{
    Checked, Store, Subject, declare, ensure,
    request::{hash, stream},
};

declare![
    streams_are_loaded_at_one_go,
    a_load_has_the_snapshot_and_what_came_after_it,
    a_snapshot_of_another_shape_is_as_good_as_none,
    a_snapshot_ahead_of_its_stream_is_as_good_as_none,
    an_older_snapshot_does_not_replace_a_newer_one,
];

const SHAPE: &str = "shape";

fn snapshot(version: u64) -> Snapshot {
    Snapshot {
        stream: stream("a"),
        version: StreamVersion::FIRST.plus(version - 1),
        state_shape: hash(SHAPE),
        state: Bytes::from(format!("state {version}")),
    }
}

/// A stream of four events.
async fn four(subject: &Subject<'_>) -> Result<Store, String> {
    let store = subject.open().await;
    for number in 1..=4 {
        store.append([subject.request("a").event(number.to_string()), subject.request("b").event("other")]).await?;
    }
    Ok(store)
}

impl Store {
    async fn save(&self, snapshot: Snapshot) -> Checked {
        self.store.save_snapshot(snapshot).await.map_err(|error| error.to_string())
    }

    async fn load(&self, ids: &[&str], shape: &str) -> Result<Vec<Loaded>, String> {
        let load = |id: &&str| Load { stream: stream(id), state_shape: hash(shape) };
        let loads: Vec<_> = ids.iter().map(load).collect();
        let loaded = self.store.load(loads, ReadLimit::default()).await.map_err(|error| error.to_string())?;
        ensure!(loaded.len() == ids.len(), "{} streams were asked for, {} came", ids.len(), loaded.len());
        Ok(loaded)
    }

    /// Version of the snapshot that a load returns, and versions of the events.
    async fn loaded_versions(&self, shape: &str) -> Result<(Option<u64>, Vec<u64>), String> {
        let Some(loaded) = self.load(&["a"], shape).await?.pop() else { return Err("nothing".to_owned()) };
        let events = loaded.events.iter().map(|event| event.version.get()).collect();
        Ok((loaded.snapshot.map(|snapshot| snapshot.version.get()), events))
    }
}

async fn streams_are_loaded_at_one_go(subject: &Subject<'_>) -> Checked {
    let store = four(subject).await?;
    let loaded = store.load(&["b", "nobody's", "a"], SHAPE).await?;
    for (id, loaded) in ["b", "nobody's", "a"].into_iter().zip(loaded) {
        let events = store.stream(stream(id)).await?;
        let version = events.last().map(|event| event.version);
        ensure!(loaded.version == version, "stream {id} is at {version:?}, loaded at {:?}", loaded.version);
        ensure!(loaded.events == events, "stream {id} loads as {:?}", loaded.events);
    }
    Ok(())
}

async fn a_load_has_the_snapshot_and_what_came_after_it(subject: &Subject<'_>) -> Checked {
    let store = four(subject).await?;
    store.save(snapshot(2)).await?;
    let Some(loaded) = store.load(&["a"], SHAPE).await?.pop() else { return Err("nothing".to_owned()) };
    ensure!(loaded.snapshot == Some(snapshot(2)), "snapshot {:?}", loaded.snapshot);
    let versions: Vec<_> = loaded.events.iter().map(|event| event.version.get()).collect();
    ensure!(versions == [3, 4], "then versions {versions:?}");
    Ok(())
}

async fn a_snapshot_of_another_shape_is_as_good_as_none(subject: &Subject<'_>) -> Checked {
    let store = four(subject).await?;
    store.save(snapshot(2)).await?;
    let loaded = store.loaded_versions("another shape").await?;
    ensure!(loaded == (None, vec![1, 2, 3, 4]), "{loaded:?}");
    Ok(())
}

async fn a_snapshot_ahead_of_its_stream_is_as_good_as_none(subject: &Subject<'_>) -> Checked {
    let store = four(subject).await?;
    store.save(snapshot(9)).await?;
    let loaded = store.loaded_versions(SHAPE).await?;
    ensure!(loaded == (None, vec![1, 2, 3, 4]), "{loaded:?}");
    Ok(())
}

async fn an_older_snapshot_does_not_replace_a_newer_one(subject: &Subject<'_>) -> Checked {
    let store = four(subject).await?;
    store.save(snapshot(3)).await?;
    store.save(snapshot(1)).await?;
    let loaded = store.loaded_versions(SHAPE).await?;
    ensure!(loaded.0 == Some(3), "{loaded:?}");
    Ok(())
}
