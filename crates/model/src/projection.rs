use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Indexes, Key, Recorded};

/// Folds events into rows: the type itself is one row of the read model called [`Projection::NAME`].
///
/// A group-by and a reduce: `keys` says which rows an event touches, `fold` makes the next row from one row and one event.
/// Both are pure, and a row depends on nothing but the events of its key in their order.
pub trait Projection: Clone + Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// The read model's name: lower case, digits and `_`, part of the path of every query.
    const NAME: &'static str;
    /// Raise it when `keys` or `fold` changes what it makes of the same events: the read model is then built anew.
    const VERSION: u32;
    /// What a row is found by.
    type Key: Key;

    /// The rows that `event` touches. None for events that do not matter here.
    ///
    /// # Errors
    /// The whole projection is then held: without its keys an event cannot be put aside.
    fn keys(event: &Recorded) -> Result<Keys<Self::Key>, FoldError>;

    /// The row of `key` after `event`.
    ///
    /// # Errors
    /// [`FoldError`] when the event cannot be folded; it will be tried again.
    fn fold(key: &Self::Key, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError>;

    /// The fields by which lists can be filtered and sorted.
    #[must_use]
    fn indexes() -> Indexes {
        Indexes::new()
    }
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<Row> {
    /// It stays as it was.
    Keep,
    /// This is the row now.
    Put(Row),
    /// There is no such row any more.
    Delete,
}

/// The rows an event touches, each once, in the order first named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys<K>(Vec<K>);

impl<K> Keys<K> {
    /// The event does not matter here.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// One row.
    #[must_use]
    pub fn one(key: K) -> Self {
        Self(vec![key])
    }
}

impl<K: Key> FromIterator<K> for Keys<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut seen = std::collections::BTreeSet::new();
        Self(keys.into_iter().filter(|key| seen.insert(key.clone())).collect())
    }
}

impl<K> IntoIterator for Keys<K> {
    type Item = K;
    type IntoIter = std::vec::IntoIter<K>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A projection cannot fold an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FoldError(String);

impl FoldError {
    /// `reason` is for the operator: what was found, and what was expected.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
