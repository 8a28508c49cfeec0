//! Notes, and ledgers of them: a row that shows whether every event came once and in order.

use std::sync::atomic::{AtomicBool, Ordering};

use model::{
    Aggregate, Change, Context, EventId, EventTypes, FoldError, Hash, Keys, Projection, Recorded, Refusal, Registry,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Note;

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) enum Command {
    Write,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) enum Event {
    Written { text: String },
}

#[derive(Debug, thiserror::Error)]
#[error("notes refuse nothing")]
pub(crate) struct Never;

impl Refusal for Never {
    fn code(&self) -> &'static str {
        "never"
    }

    fn title(&self) -> &'static str {
        "Never"
    }
}

impl Aggregate for Note {
    const NAME: &'static str = "note";
    const STATE_VERSION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Refusal = Never;

    fn events() -> EventTypes {
        EventTypes::new([("Written", "note.written", 1)])
    }

    fn decide(&self, _: Command, _: &Context) -> Result<Vec<Event>, Never> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _: &Event) {}
}

/// What a ledger's row comes to.
pub(crate) fn ledger(events: impl IntoIterator<Item = EventId>) -> (String, u64) {
    events.into_iter().fold((String::new(), 0), |(hash, count), event| (chained(&hash, event), count + 1))
}

fn chained(before: &str, event: EventId) -> String {
    let mut bytes = before.as_bytes().to_vec();
    bytes.extend_from_slice(event.0.as_bytes());
    Hash::of(&bytes).to_string()
}

fn text(event: &Recorded) -> Result<&str, FoldError> {
    match event.of::<Note>() {
        Some(Event::Written { text }) => Ok(text),
        None => Err(FoldError::new("not a note")),
    }
}

/// While it is set, ledgers can fold what says `poison`.
pub(crate) static ANTIDOTE: AtomicBool = AtomicBool::new(false);

macro_rules! ledgers {
    ($($(#[$docs:meta])* $type:ident is $name:literal, version $version:literal, poisoned by $poison:literal;)+) => {$(
        $(#[$docs])*
        #[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
        pub(crate) struct $type {
            pub h: String,
            pub n: u64,
        }

        impl Projection for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
            type Key = String;

            fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
                Ok(["all".to_owned(), event.id().to_owned()].into_iter().collect())
            }

            fn fold(_: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
                if $poison == text(event)? && !$poison.is_empty() && !ANTIDOTE.load(Ordering::SeqCst) {
                    return Err(FoldError::new("this note is poison"));
                }
                let row = row.unwrap_or_default();
                Ok(Change::Put(Self { h: chained(&row.h, event.event_id), n: row.n + 1 }))
            }
        }
    )+};
}

ledgers! {
    Ledger is "ledger", version 1, poisoned by "";
    LedgerAnew is "ledger", version 2, poisoned by "";
    Delicate is "delicate", version 1, poisoned by "poison";
    Second is "second", version 1, poisoned by "";
    Third is "third", version 1, poisoned by "";
    Fourth is "fourth", version 1, poisoned by "";
    Fifth is "fifth", version 1, poisoned by "";
}

pub(crate) fn registry() -> Registry {
    Registry::new().aggregate::<Note>().expect("declared well")
}
