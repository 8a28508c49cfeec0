use std::collections::BTreeSet;

use jiff::Timestamp;
use model::{CommandId, Context, EventId, Hash, Position, Principal, StreamId, Tenant};
use proptest::prelude::*;
use uuid::Uuid;

#[test]
fn positions_begin_at_one() {
    assert_eq!(Position::new(0), None);
    assert_eq!(Position::FIRST.get(), 1);
    assert_eq!(Position::after(None), Position::FIRST);
    assert_eq!(Position::after(Position::new(4)), Position::FIRST.plus(4));
    assert_eq!((Position::count(None), Position::count(Position::new(4))), (0, 4));
}

#[test]
fn a_position_is_a_plain_number_in_json_and_zero_is_none() {
    assert_eq!(serde_json::to_string(&Position::FIRST).expect("it serialises"), "1");
    assert!(serde_json::from_str::<Position>("0").is_err());
}

#[test]
fn a_hash_is_that_of_the_standard() {
    // FIPS 180-4, the example for "abc".
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Hash::of(b"abc").to_string(), expected);
    assert_eq!(Hash::from_slice(&[0; 31]), None);
    assert_eq!(Hash::from_slice(&[0; 32]), Some(Hash::default()));
}

#[test]
fn tenant_and_principal_have_a_default_and_streams_are_printed_without_them() {
    assert_eq!((Tenant::default().as_str(), Principal::default().as_str()), ("default", "anonymous"));
    let stream = StreamId { tenant: Tenant::new("t"), aggregate: "order".into(), id: "o-1".into() };
    assert_eq!(stream.to_string(), "order/o-1");
}

#[test]
fn the_ids_of_a_decision_are_the_same_when_it_is_made_again_and_differ_from_each_other() {
    let context = |command| {
        let time = Timestamp::from_nanosecond(1_600_000_000_000_000_999).expect("a time");
        Context::new(time, Principal::default(), Tenant::default(), CommandId(Uuid::from_u128(command)))
    };
    let ids = |command| {
        let context = context(command);
        [context.new_id(), context.new_id(), context.new_id()]
    };
    assert_eq!(ids(1), ids(1));
    assert_eq!(ids(1).into_iter().chain(ids(2)).collect::<BTreeSet<_>>().len(), 6);
    assert_eq!(context(1).time().as_nanosecond(), 1_600_000_000_000_000_000, "whole microseconds");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn derived_event_ids_are_distinct_and_keep_the_form_of_their_command(bits: u128, indexes in prop::collection::btree_set(any::<u32>(), 1..8)) {
        let command = CommandId(Uuid::from_u128(bits));
        let ids: BTreeSet<EventId> = indexes.iter().map(|index| EventId::derived(command, *index)).collect();
        prop_assert_eq!(ids.len(), indexes.len());
        for id in ids {
            prop_assert_ne!(id.0, command.0);
            prop_assert_eq!(id.0.get_version_num(), command.0.get_version_num());
            prop_assert_eq!(id.0.get_variant(), command.0.get_variant());
        }
    }
}
