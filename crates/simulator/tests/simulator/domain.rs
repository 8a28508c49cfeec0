//! The read models of a run, and what they come to by hand.

use std::{collections::BTreeMap, sync::Arc};

use model::{Change, FoldError, Hash, Keys, Projection, Recorded, Registry, StoredEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use testkit::domain::{Account, Event};

pub(super) const LEDGER: &str = "ledger";
pub(super) const SLIPS: &str = "slips";

/// A chain of events in several rows each, of which some are shared by all accounts, some are deleted now and then, and some
/// are touched without a change. Another version makes other rows of the same events.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Slip<const VERSION: u32> {
    h: String,
    n: u64,
}

impl<const VERSION: u32> Projection for Slip<VERSION> {
    const NAME: &'static str = SLIPS;
    const VERSION: u32 = VERSION;
    type Key = (String, String);

    fn keys(event: &Recorded) -> Result<Keys<Self::Key>, FoldError> {
        let (kind, id) = (kind(event), event.id());
        let keys = [("kind", kind.to_owned()), ("of", id.to_owned()), ("since", id.to_owned())];
        let keys = keys.into_iter().chain([("both", format!("{id}-{kind}"))]);
        Ok(keys.map(|(group, key)| (group.to_owned(), key)).collect())
    }

    fn fold(key: &Self::Key, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        Ok(match (key.0.as_str(), event.of::<Account>()) {
            ("since", Some(Event::Withdrawn { .. })) => Change::Delete,
            ("kind", Some(Event::Opened { .. })) => Change::Keep,
            _ => {
                let Self { h, n } = row.unwrap_or_default();
                Change::Put(Self { h: chained(&h, VERSION, event), n: n + 1 })
            }
        })
    }
}

/// `account.opened` is `opened`.
fn kind(event: &StoredEvent) -> &str {
    event.event_type.name.trim_start_matches("account.")
}

fn chained(before: &str, version: u32, event: &StoredEvent) -> String {
    Hash::of(&[before.as_bytes(), &version.to_be_bytes(), event.event_id.0.as_bytes()].concat()).to_string()
}

/// With slips of version 1 or 2.
pub(super) fn registry(version: u32) -> Registry {
    let registry = testkit::domain::registry();
    let registry = if version == 1 { registry.projection::<Slip<1>>() } else { registry.projection::<Slip<2>>() };
    registry.expect("declared well")
}

/// The rows of a read model by hand.
pub(super) struct Fold {
    read_model: String,
    version: u32,
    folded: usize,
    rows: BTreeMap<String, (String, u64)>,
}

impl Fold {
    pub(super) fn new(read_model: &str, version: u32) -> Self {
        Self { read_model: read_model.to_owned(), version, folded: 0, rows: BTreeMap::new() }
    }

    /// The rows after the first `count` events, as they are stored. Each call goes on where the one before ended.
    pub(super) fn after(&mut self, events: &[Arc<StoredEvent>], count: usize) -> BTreeMap<String, String> {
        for event in &events[self.folded..count] {
            if self.read_model == LEDGER {
                self.ledger(event);
            } else {
                self.slips(event);
            }
        }
        self.folded = count;
        let row = |(key, (h, n)): (&String, &(String, u64))| (key.clone(), format!("{{\"h\":\"{h}\",\"n\":{n}}}"));
        self.rows.iter().map(row).collect()
    }

    fn ledger(&mut self, event: &StoredEvent) {
        for key in ["log/all".to_owned(), event.stream.to_string()] {
            let (h, n) = self.rows.entry(key).or_default();
            let chained = [h.as_bytes(), event.event_id.0.as_bytes()].concat();
            (*h, *n) = (Hash::of(&chained).to_string(), *n + 1);
        }
    }

    fn slips(&mut self, event: &StoredEvent) {
        let (kind, id) = (kind(event), &event.stream.id);
        let mut touched = vec![format!("of/{id}"), format!("both/{id}-{kind}")];
        if kind != "opened" {
            touched.push(format!("kind/{kind}"));
        }
        if kind == "withdrawn" {
            self.rows.remove(&format!("since/{id}"));
        } else {
            touched.push(format!("since/{id}"));
        }
        for key in touched {
            let (h, n) = self.rows.entry(key).or_default();
            (*h, *n) = (chained(h, self.version, event), *n + 1);
        }
    }
}
