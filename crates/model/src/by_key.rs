//! Rows by keys that are hashed once, however many maps they are looked up in.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use crate::RowKey;

/// A key and its hash, which is taken once each time that an event touches the row: with the secret that maps have for keys
/// that come from outside.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HashedKey {
    pub(crate) hash: u64,
    pub(crate) key: RowKey,
}

impl Hash for HashedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on the hash that a [`HashedKey`] has.
#[derive(Default)]
pub(crate) struct AsGiven(u64);

impl Hasher for AsGiven {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Rows by their keys. They are looked up only: their order is never seen.
pub(crate) type ByKey<T> = HashMap<HashedKey, T, BuildHasherDefault<AsGiven>>;
