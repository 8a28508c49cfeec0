use std::{collections::BTreeSet, sync::Arc};

use super::{Subject, fixture::*};
use model::{Hash, ReadModel};

pub(super) async fn the_first_generation_serves_at_once(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = database.take(things(1)).await.expect("taken");
    assert!(owned.serving);
    assert_eq!((owned.position, owned.hash), (None, Hash::default()));
    let serving = database.serving(NAME).await.expect("it serves");
    assert_eq!((serving.generation, serving.read_model), (owned.generation, things(1)));
}

pub(super) async fn another_generation_serves_from_the_switch_on(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = with_rows(&*database, vec![put("a", "old", 1)]).await;
    let new = database.take(things(2)).await.expect("taken");
    assert!(!new.serving);
    stored(&*database, commit(&new, 0, 1, vec![put("a", "new", 1)])).await;
    assert_eq!(body(&*database, "a").await.expect("a row"), "old");
    assert_eq!(serving(&*database).await, old.generation);
    assert!(database.switch(new.generation, new.owner).await.expect("answered"));
    assert_eq!(body(&*database, "a").await.expect("a row"), "new");
    let serving = database.serving(NAME).await.expect("it serves");
    assert_eq!((serving.generation, serving.read_model), (new.generation, things(2)));
    assert_eq!(database.checkpoint(NAME).await.expect("read").generation, new.generation);
}

pub(super) async fn the_same_shape_is_the_same_generation(subject: &dyn Subject) {
    let database = subject.open().await;
    let before = with_rows(&*database, Vec::new()).await;
    drop(database);
    let database = subject.open().await;
    let after = database.take(things(1)).await.expect("taken again");
    assert_eq!(after.generation, before.generation);
    assert!(after.owner > before.owner);
    // A database may lose its last commits, position and hash together.
    let hash = if after.position.is_some() { Hash::of(&1_u64.to_le_bytes()) } else { Hash::default() };
    assert_eq!(after.hash, hash);
}

pub(super) async fn another_version_or_shape_is_another_generation(subject: &dyn Subject) {
    let database = subject.open().await;
    let reshaped = Arc::new(ReadModel { shape: Hash::of(b"another shape"), ..(*things(1)).clone() });
    let mut generations = BTreeSet::new();
    for read_model in [things(1), things(2), reshaped] {
        let generation = database.take(read_model.clone()).await.expect("taken").generation;
        assert_eq!(database.take(read_model).await.expect("taken again").generation, generation);
        generations.insert(generation);
    }
    assert_eq!(generations.len(), 3);
}

pub(super) async fn a_generation_that_is_behind_does_not_switch(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = database.take(things(1)).await.expect("taken");
    stored(&*database, commit(&old, 0, 5, Vec::new())).await;
    let new = database.take(things(2)).await.expect("taken");
    assert!(!database.switch(new.generation, new.owner).await.expect("answered"), "an empty one is below 5");
    stored(&*database, commit(&new, 0, 4, Vec::new())).await;
    assert!(!database.switch(new.generation, new.owner).await.expect("answered"), "4 is below 5");
    assert_eq!(serving(&*database).await, old.generation);
    stored(&*database, commit(&new, 4, 5, Vec::new())).await;
    assert!(database.switch(new.generation, new.owner).await.expect("answered"), "5 is not below 5");
}

pub(super) async fn an_empty_generation_replaces_an_empty_one(subject: &dyn Subject) {
    let database = subject.open().await;
    database.take(things(1)).await.expect("taken");
    let new = database.take(things(2)).await.expect("taken");
    assert!(database.switch(new.generation, new.owner).await.expect("answered"));
    assert_eq!(serving(&*database).await, new.generation);
    assert!(database.switch(new.generation, new.owner).await.expect("answered"), "it serves already");
}

pub(super) async fn a_former_owner_cannot_switch(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = database.take(things(1)).await.expect("taken");
    let former = database.take(things(2)).await.expect("taken");
    database.take(things(2)).await.expect("taken over");
    assert!(!database.switch(former.generation, former.owner).await.expect("answered"));
    assert_eq!(serving(&*database).await, old.generation);
}

pub(super) async fn a_list_of_a_generation_that_no_longer_serves_is_none(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = with_rows(&*database, vec![put("a", "old", 1)]).await;
    let new = database.take(things(2)).await.expect("taken");
    stored(&*database, commit(&new, 0, 1, Vec::new())).await;
    assert!(database.list(NAME, list(&new, &[])).await.expect("answered").is_none(), "not yet");
    assert!(database.list(NAME, list(&old, &[])).await.expect("answered").is_some());
    assert!(database.switch(new.generation, new.owner).await.expect("answered"));
    assert!(database.list(NAME, list(&old, &[])).await.expect("answered").is_none(), "no longer");
    assert!(database.list(NAME, list(&new, &[])).await.expect("answered").is_some());
}

pub(super) async fn the_old_generation_can_catch_up_and_serve_again(subject: &dyn Subject) {
    let database = subject.open().await;
    let old = with_rows(&*database, vec![put("a", "old", 1)]).await;
    let new = database.take(things(2)).await.expect("taken");
    stored(&*database, commit(&new, 0, 2, Vec::new())).await;
    assert!(database.switch(new.generation, new.owner).await.expect("answered"));
    let again = database.take(things(1)).await.expect("taken again");
    assert_eq!((again.generation, again.position, again.serving), (old.generation, Some(position(1)), false));
    stored(&*database, commit(&again, 1, 2, vec![put("b", "caught up", 2)])).await;
    assert!(database.switch(again.generation, again.owner).await.expect("answered"));
    assert_eq!(body(&*database, "a").await.expect("a row"), "old");
    assert_eq!(body(&*database, "b").await.expect("a row"), "caught up");
}

pub(super) async fn all_generations_are_counted_and_shown(subject: &dyn Subject) {
    let database = subject.open().await;
    with_rows(&*database, Vec::new()).await;
    let other = Arc::new(ReadModel { name: "others".to_owned(), ..(*things(1)).clone() });
    database.take(other).await.expect("taken");
    database.take(things(2)).await.expect("taken");
    let shown = database.generations().await.expect("read");
    let shown: Vec<_> = shown
        .iter()
        .map(|each| (each.read_model.as_str(), each.version, each.generation.0, each.serving, each.position))
        .collect();
    let expected = [(NAME, 1, 1, true, Some(position(1))), ("others", 1, 2, true, None), (NAME, 2, 3, false, None)];
    assert_eq!(shown, expected);
}
