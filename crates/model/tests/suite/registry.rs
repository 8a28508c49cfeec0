use std::convert::Infallible;

use model::{
    Aggregate, Change, Context, EventTypes, FoldError, Indexes, Keys, Projection, Recorded, Registry, RegistryError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Drunk, Tab, registry};

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Moved {
    Left,
    Right,
}

macro_rules! aggregate {
    ($name:ident, $stored:literal, $command:ty, $event:ty, $events:expr) => {
        #[derive(Default, Serialize, Deserialize, JsonSchema)]
        struct $name {}

        impl Aggregate for $name {
            const NAME: &'static str = $stored;
            const STATE_VERSION: u32 = 1;
            type Command = $command;
            type Event = $event;
            type Refusal = Infallible;

            fn events() -> EventTypes {
                $events
            }

            fn decide(&self, _: $command, _: &Context) -> Result<Vec<$event>, Infallible> {
                Ok(Vec::new())
            }

            fn evolve(&mut self, _: &$event) {}
        }
    };
}

fn moved() -> EventTypes {
    EventTypes::new([("Left", "moved.left", 1), ("Right", "moved.right", 3)])
}

aggregate!(Good, "good", Moved, Moved, moved());
aggregate!(
    SameEvents,
    "same_events",
    Moved,
    Moved,
    EventTypes::new([("Left", "moved.left", 2), ("Right", "other.right", 1)])
);
aggregate!(BadName, "Bad-Name", Moved, Moved, moved());
aggregate!(NoCommands, "no_commands", Nothing, Moved, moved());
aggregate!(NoEvents, "no_events", Moved, Nothing, EventTypes::new([]));
aggregate!(Unnamed, "unnamed", Moved, Moved, EventTypes::new([("Left", "moved.left", 1)]));
aggregate!(Surplus, "surplus", Moved, Moved, EventTypes::new([("Left", "a", 1), ("Right", "b", 1), ("Up", "c", 1)]));
aggregate!(OneName, "one_name", Moved, Moved, EventTypes::new([("Left", "moved", 1), ("Right", "moved", 2)]));
aggregate!(ForNobody, "for_nobody", Moved, Moved, moved().upcast("moved.up", 1, |old| old));
aggregate!(NotOlder, "not_older", Moved, Moved, moved().upcast("moved.left", 1, |old| old));
aggregate!(Gap, "gap", Moved, Moved, moved().upcast("moved.right", 1, |old| old));
aggregate!(
    Twice,
    "twice",
    Moved,
    Moved,
    moved().upcast("moved.right", 2, |old| old).upcast("moved.right", 2, |old| old)
);

fn aggregate_error<A: Aggregate>() -> RegistryError {
    Registry::new().aggregate::<A>().map(|_| ()).expect_err("the declaration is wrong")
}

macro_rules! projection {
    ($name:ident, $stored:literal, $indexes:expr) => {
        #[derive(Clone, Serialize, Deserialize, JsonSchema)]
        #[allow(non_snake_case, reason = "one field has a name that no column should have")]
        struct $name {
            count: u32,
            order_by: u32,
            Loud: u32,
        }

        impl Projection for $name {
            const NAME: &'static str = $stored;
            const VERSION: u32 = 1;
            type Key = String;

            fn keys(_: &Recorded) -> Result<Keys<String>, FoldError> {
                Ok(Keys::none())
            }

            fn fold(_: &String, _: Option<Self>, _: &Recorded) -> Result<Change<Self>, FoldError> {
                Ok(Change::Keep)
            }

            fn indexes() -> Indexes {
                $indexes
            }
        }
    };
}

projection!(NoField, "no_field", Indexes::new().integer("counts"));
projection!(Reserved, "reserved", Indexes::new().integer("order_by"));
projection!(LoudIndex, "loud_index", Indexes::new().integer("Loud"));
projection!(IndexedTwice, "indexed_twice", Indexes::new().integer("count").text("count"));
projection!(BadModelName, "9lives", Indexes::new());

fn projection_error<P: Projection>() -> RegistryError {
    Registry::new().projection::<P>().map(|_| ()).expect_err("the declaration is wrong")
}

#[test]
fn what_is_declared_is_found_by_its_name() {
    let registry = registry();
    assert_eq!(registry.find_aggregate("tab").map(|found| found.name()), Some("tab"));
    assert_eq!(registry.find_projection("drunk").map(|found| found.read_model().version), Some(1));
    assert!(registry.find_aggregate("bill").is_none() && registry.find_projection("sober").is_none());
}

#[test]
fn names_do_in_paths_and_tables() {
    assert!(matches!(aggregate_error::<BadName>(), RegistryError::BadName { name } if name == "Bad-Name"));
    assert!(matches!(projection_error::<BadModelName>(), RegistryError::BadName { name } if name == "9lives"));
    assert!(matches!(projection_error::<LoudIndex>(), RegistryError::BadName { name } if name == "Loud"));
}

#[test]
fn a_name_is_declared_once() {
    let twice = registry().projection::<Drunk>().map(|_| ()).expect_err("it is there already");
    assert!(matches!(twice, RegistryError::Twice { name } if name == "drunk"));
    assert!(registry().aggregate::<Tab>().is_err());
}

#[test]
fn commands_and_events_are_enums() {
    assert!(matches!(aggregate_error::<NoCommands>(), RegistryError::NotAnEnum { what: "Command", .. }));
    assert!(matches!(aggregate_error::<NoEvents>(), RegistryError::NotAnEnum { what: "Event", .. }));
}

#[test]
fn every_variant_has_a_stored_name_and_every_stored_name_a_variant() {
    assert!(matches!(aggregate_error::<Unnamed>(), RegistryError::UnnamedEvent { variant, .. } if variant == "Right"));
    assert!(matches!(aggregate_error::<Surplus>(), RegistryError::NoSuchEvent { variant, .. } if variant == "Up"));
}

#[test]
fn a_stored_name_is_that_of_one_variant_in_the_application() {
    assert!(matches!(aggregate_error::<OneName>(), RegistryError::EventTypeTwice { .. }));
    let both = Registry::new().aggregate::<Good>().and_then(Registry::aggregate::<SameEvents>);
    assert!(
        matches!(both.map(|_| ()), Err(RegistryError::EventTypeTwice { event_type }) if event_type == "moved.left.v2")
    );
}

#[test]
fn an_upcast_leads_from_an_older_version_to_the_present_one() {
    for (error, words) in [
        (aggregate_error::<ForNobody>(), "no event has that stored name"),
        (aggregate_error::<NotOlder>(), "not older"),
        (aggregate_error::<Gap>(), "between it and the present one"),
        (aggregate_error::<Twice>(), "two of them"),
    ] {
        assert!(matches!(&error, RegistryError::BadUpcast { reason, .. } if reason.contains(words)), "{error}");
    }
}

#[test]
fn an_index_is_on_a_field_of_the_row_once_and_not_under_a_name_of_the_interface() {
    for (error, words) in [
        (projection_error::<NoField>(), "no such field"),
        (projection_error::<Reserved>(), "the interface uses that name"),
        (projection_error::<IndexedTwice>(), "it has one already"),
    ] {
        assert!(matches!(&error, RegistryError::BadIndex { reason, .. } if reason.contains(words)), "{error}");
    }
}
