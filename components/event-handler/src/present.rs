//! Which rows a generation may have, for a loop that has filled it from nothing: what is certainly not there is not looked for.
//!
//! Bloom filters (B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970), each twice as large as
//! the one before, so that few rows take little memory. "Not there" is always right; "there" is wrong about once in fifty
//! times, and costs one look.

use std::hash::{DefaultHasher, Hash, Hasher};

use model::RowKey;

/// Keys that the first filter holds.
const FIRST_KEYS: usize = 4096;
const BITS_A_KEY: usize = 10;
const PROBES: u64 = 5;
/// The last filter holds `FIRST_KEYS << (FILTERS_MAX - 1)` keys: all together some four million keys in 5 MiB.
const FILTERS_MAX: usize = 10;

#[derive(Default)]
pub(crate) struct Present {
    filters: Vec<Filter>,
    /// More keys came than the filters can hold: nothing is certain any more.
    is_overfull: bool,
}

struct Filter {
    words: Vec<u64>,
    keys: usize,
    keys_max: usize,
}

impl Present {
    /// Notes that the row may exist from now on.
    pub(crate) fn insert(&mut self, key: &RowKey) {
        let hash = hash(key);
        if self.is_overfull || self.holds(hash) {
            return;
        }
        if self.filters.last().is_none_or(|filter| filter.keys == filter.keys_max) {
            if self.filters.len() == FILTERS_MAX {
                *self = Self { filters: Vec::new(), is_overfull: true };
                return;
            }
            self.filters.push(Filter::new(FIRST_KEYS << self.filters.len()));
        }
        if let Some(filter) = self.filters.last_mut() {
            filter.insert(hash);
        }
    }

    /// `false` if no such row was ever noted.
    pub(crate) fn may_have(&self, key: &RowKey) -> bool {
        self.is_overfull || self.holds(hash(key))
    }

    fn holds(&self, hash: u64) -> bool {
        self.filters.iter().any(|filter| filter.may_have(hash))
    }
}

fn hash(key: &RowKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Filter {
    fn new(keys_max: usize) -> Self {
        Self { words: vec![0; (keys_max * BITS_A_KEY).div_ceil(64)], keys: 0, keys_max }
    }

    fn insert(&mut self, hash: u64) {
        for (word, bit) in places(hash, self.words.len()) {
            self.words[word] |= bit;
        }
        self.keys += 1;
    }

    fn may_have(&self, hash: u64) -> bool {
        places(hash, self.words.len()).all(|(word, bit)| self.words[word] & bit != 0)
    }
}

/// Where a key's bits are: two halves of one hash make as many as are wanted (Kirsch and Mitzenmacher, 2006).
fn places(hash: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let (first, step) = (hash >> 32, (hash & 0xffff_ffff) | 1);
    let bits = words as u64 * 64;
    (0..PROBES).map(move |probe| {
        let place = first.wrapping_add(step.wrapping_mul(probe)) % bits;
        ((place / 64) as usize, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use model::Tenant;

    use super::*;

    fn key(number: usize) -> RowKey {
        RowKey { tenant: Tenant::default(), key: format!("k-{number}").into() }
    }

    #[test]
    fn what_was_noted_is_never_said_to_be_absent_and_what_was_not_nearly_always() {
        let mut present = Present::default();
        assert!(!present.may_have(&key(0)));
        (0..50_000).for_each(|number| present.insert(&key(number)));
        assert!((0..50_000).all(|number| present.may_have(&key(number))));
        let wrong = (50_000..100_000).filter(|number| present.may_have(&key(*number))).count();
        assert!(wrong < 2_500, "{wrong} of 50,000 rows that are not there may be there");
    }

    #[test]
    fn beyond_what_it_can_hold_it_is_sure_of_nothing() {
        let mut present = Present { filters: Vec::new(), is_overfull: true };
        assert!(present.may_have(&key(1)));
        present.insert(&key(1));
        assert!(present.filters.is_empty());
    }
}
