use std::{collections::BTreeMap, sync::Arc};

use model::{FoldFailure, Folder, IndexValue, Recorded, RowChange, RowKey, RowWrite};
use proptest::prelude::*;
use serde_json::json;

use crate::domain::{recorded, registry, round, stored};

/// A read model as a database would keep it.
#[derive(Default)]
struct Table {
    rows: BTreeMap<RowKey, (u64, String, Vec<IndexValue>)>,
}

impl Table {
    fn supply(&self, folder: &mut dyn Folder, events: &[Arc<Recorded>]) -> Result<Vec<RowKey>, FoldFailure> {
        let asked = folder.plan(events)?;
        for key in &asked {
            folder.supply(self.rows.get(key).map(|(_, body, _)| body.as_str()))?;
        }
        Ok(asked)
    }

    fn apply(&mut self, folder: &mut dyn Folder, events: &[Arc<Recorded>]) -> Result<Vec<RowWrite>, FoldFailure> {
        self.supply(folder, events)?;
        let writes = folder.fold(events)?;
        for write in &writes {
            match &write.change {
                RowChange::Put { body, index } => {
                    let row = (write.position.get(), body.clone(), index.clone());
                    self.rows.insert(write.key.clone(), row);
                }
                RowChange::Delete => drop(self.rows.remove(&write.key)),
            }
        }
        folder.commit();
        Ok(writes)
    }
}

fn folder(cached_bytes_max: usize) -> Box<dyn Folder> {
    registry().find_projection("drunk").expect("it is registered").folder(cached_bytes_max)
}

fn keys(writes: &[RowWrite]) -> Vec<&str> {
    writes.iter().map(|write| &*write.key.key).collect()
}

fn rounds(drinks: &[Vec<usize>]) -> Vec<Arc<Recorded>> {
    const DRINKS: [&str; 5] = ["tea", "beer", "water", "antidote", "a/b c"];
    drinks
        .iter()
        .zip(1..)
        .map(|(drinks, position)| round(position, &drinks.iter().map(|drink| DRINKS[*drink]).collect::<Vec<_>>()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_do_not_depend_on_batches_or_on_what_is_cached(
        drinks in prop::collection::vec(prop::collection::vec(0_usize..5, 0..4), 1..40),
        cached_bytes_max in prop::sample::select(vec![0, 400, 1_000_000]),
    ) {
        let events = rounds(&drinks);
        let tables = [1, 7, events.len()].map(|batch| {
            let (mut table, mut folder) = (Table::default(), folder(cached_bytes_max));
            for batch in events.chunks(batch) {
                table.apply(folder.as_mut(), batch).expect("these drinks can be folded");
            }
            table.rows
        });
        prop_assert_eq!(&tables[0], &tables[1]);
        prop_assert_eq!(&tables[0], &tables[2]);
    }
}

#[test]
fn a_batch_writes_each_touched_row_once_in_the_order_first_touched() {
    let events = [round(1, &["tea", "beer"]), round(2, &["beer", "beer"]), round(3, &["tea"])];
    let writes = Table::default().apply(folder(0).as_mut(), &events).expect("it folds");
    assert_eq!(keys(&writes), ["tea", "beer"]);
    assert_eq!(writes[0].position.get(), 3, "the last event that touched it");
    let body = r#"{"glasses":3,"spent":"3.75","last_tab":"t-2"}"#.to_owned();
    let index = vec![IndexValue::Integer(3), IndexValue::Integer(375), IndexValue::Text("t-2".to_owned())];
    assert_eq!(writes[1].change, RowChange::Put { body, index });
}

#[test]
fn a_row_that_is_kept_is_not_written() {
    let writes = Table::default().apply(folder(0).as_mut(), &[round(1, &["water"])]).expect("it folds");
    assert_eq!(writes, []);
}

#[test]
fn a_row_that_comes_and_goes_in_one_batch_is_deleted() {
    let events = [round(1, &["antidote"]), round(2, &["antidote"])];
    let writes = Table::default().apply(folder(0).as_mut(), &events).expect("it folds");
    assert_eq!(writes[0].change, RowChange::Delete);
}

#[test]
fn committed_rows_are_not_asked_for_again() {
    let (mut table, mut folder) = (Table::default(), folder(1_000_000));
    table.apply(folder.as_mut(), &[round(1, &["tea"])]).expect("it folds");
    assert_eq!(table.supply(folder.as_mut(), &[round(2, &["tea"])]).expect("it is planned"), []);
}

#[test]
fn a_rollback_forgets_what_was_folded_and_what_was_cached() {
    let (mut table, mut folder) = (Table::default(), folder(1_000_000));
    table.apply(folder.as_mut(), &[round(1, &["tea"])]).expect("it folds");
    table.supply(folder.as_mut(), &[round(2, &["tea"])]).expect("it is planned");
    folder.fold(&[round(2, &["tea"])]).expect("it folds");
    folder.rollback();

    let asked = table.supply(folder.as_mut(), &[round(2, &["tea"])]).expect("it is planned");
    assert_eq!(asked.len(), 1, "a row that may not be as it is in memory is read again");
    let writes = folder.fold(&[round(2, &["tea"])]).expect("it folds");
    assert!(matches!(&writes[0].change, RowChange::Put { body, .. } if body.contains(r#""glasses":2"#)), "{writes:?}");
}

#[test]
fn a_batch_that_was_never_committed_is_forgotten_by_the_next_plan() {
    let (mut table, mut folder) = (Table::default(), folder(1_000_000));
    table.supply(folder.as_mut(), &[round(1, &["tea"])]).expect("it is planned");
    folder.fold(&[round(1, &["tea"])]).expect("it folds");
    let writes = table.apply(folder.as_mut(), &[round(1, &["tea"])]).expect("it folds");
    assert!(matches!(&writes[0].change, RowChange::Put { body, .. } if body.contains(r#""glasses":1"#)), "{writes:?}");
}

#[test]
fn a_fold_that_fails_or_panics_names_event_row_and_reason() {
    for (drink, reason) in [("poison", "that was no drink"), ("bomb", "boom")] {
        let events = [round(1, &["tea"]), round(2, &["tea", drink])];
        let (mut table, mut folder) = (Table::default(), folder(1_000_000));
        let failure = table.apply(folder.as_mut(), &events).expect_err("it cannot be folded");
        assert_eq!(failure.position.get(), 2);
        assert_eq!(failure.key.map(|key| key.key.to_string()), Some(drink.to_owned()));
        assert_eq!(failure.reason, reason);

        let writes = table.apply(folder.as_mut(), &events[..1]).expect("the events before it fold");
        assert!(
            matches!(&writes[0].change, RowChange::Put { body, .. } if body.contains(r#""glasses":1"#)),
            "{writes:?}"
        );
    }
}

#[test]
fn keys_that_cannot_be_told_are_a_failure_without_a_row() {
    let nobody = recorded(stored(2, "tab.opened", 3, json!({ "owner": "nobody", "table": 1 })));
    let unspeakable = round(2, &["x".repeat(300).as_str()]);
    let nameless = round(2, &[""]);
    for event in [nobody, unspeakable, nameless] {
        let mut folder = folder(0);
        let failure = folder.plan(&[round(1, &["tea"]), event]).expect_err("its keys cannot be told");
        assert_eq!((failure.position.get(), failure.key), (2, None));
        assert_eq!(folder.plan(&[round(1, &["tea"])]).expect("the events before it are planned").len(), 1);
    }
}

#[test]
fn a_stored_row_that_does_not_fit_is_a_failure_and_not_a_new_row() {
    let mut folder = folder(0);
    let events = [round(1, &["tea"])];
    folder.plan(&events).expect("it is planned");
    assert!(folder.supply(Some(r#"{"glasses":"many"}"#)).is_err());
    assert!(folder.fold(&events).is_err());
}

#[test]
fn a_row_that_was_not_supplied_is_a_failure_and_not_a_new_row() {
    let mut folder = folder(0);
    let events = [round(1, &["tea", "beer"])];
    folder.plan(&events).expect("it is planned");
    folder.supply(None).expect("there is no tea yet");
    let failure = folder.fold(&events).expect_err("nobody said whether there is beer");
    assert_eq!(failure.key.map(|key| key.key.to_string()), Some("beer".to_owned()));
}

#[test]
fn index_values_of_a_stored_row_are_those_it_was_written_with() {
    let mut table = Table::default();
    table.apply(folder(0).as_mut(), &[round(1, &["tea", "beer", "beer"])]).expect("it folds");
    let registry = registry();
    let projection = registry.find_projection("drunk").expect("it is registered");
    for (_, body, index) in table.rows.values() {
        assert_eq!(projection.index_values(body).as_ref(), Ok(index));
    }
}
