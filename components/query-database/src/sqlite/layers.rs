//! Rows in memory, from old to new: so that whoever lists them, or writes them into the file, has those of one instant
//! without holding up the commits meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use model::{IndexValue, RowChange, RowKey, RowWrite};

/// Rows by their keys: the order in which they are written.
pub(super) type Rows = BTreeMap<RowKey, Arc<RowWrite>>;

/// What a row takes in memory beside its text, roughly.
const ROW_OVERHEAD_BYTES: usize = 256;

/// A row in a newer layer hides that of its key in an older one.
#[derive(Default)]
pub(super) struct Layers {
    /// Those that change no more, oldest first.
    frozen: Vec<Arc<Rows>>,
    newest: Rows,
    /// How many of the oldest ones are on their way into the file.
    flushing: usize,
    bytes: usize,
    bytes_flushing: usize,
}

impl Layers {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn put(&mut self, row: RowWrite) {
        self.bytes += bytes_of(&row);
        let before = self.newest.insert(row.key.clone(), Arc::new(row));
        self.bytes -= before.map_or(0, |before| bytes_of(&before));
    }

    pub(super) fn find(&self, key: &RowKey) -> Option<&Arc<RowWrite>> {
        self.newest.get(key).or_else(|| self.frozen.iter().rev().find_map(|layer| layer.get(key)))
    }

    /// All there is, oldest layer first.
    pub(super) fn share(&mut self) -> Vec<Arc<Rows>> {
        self.freeze();
        // So that there are few, and no row is moved often.
        while let [rest @ .., older, newer] = &*self.frozen
            && rest.len() >= self.flushing
            && older.len() < 2 * newer.len()
        {
            self.merge();
        }
        self.frozen.clone()
    }

    /// All there is: it is to go into the file now.
    pub(super) fn begin_flush(&mut self) -> Vec<Arc<Rows>> {
        self.freeze();
        (self.flushing, self.bytes_flushing) = (self.frozen.len(), self.bytes);
        self.frozen.clone()
    }

    /// It is in the file, or not.
    pub(super) fn end_flush(&mut self, is_stored: bool) {
        if is_stored {
            self.frozen.drain(..self.flushing);
            self.bytes -= self.bytes_flushing;
        }
        (self.flushing, self.bytes_flushing) = (0, 0);
        if !is_stored {
            // What is tried again and again is not to become more layers each time.
            while self.frozen.len() > 1 {
                self.merge();
            }
        }
    }

    fn freeze(&mut self) {
        if !self.newest.is_empty() {
            self.frozen.push(Arc::new(std::mem::take(&mut self.newest)));
        }
    }

    /// Makes the two newest frozen ones one.
    fn merge(&mut self) {
        let (Some(newer), Some(older)) = (self.frozen.pop(), self.frozen.pop()) else { return };
        // They are copied only where somebody reads them meanwhile.
        let mut merged = Arc::unwrap_or_clone(older);
        for (key, row) in Arc::unwrap_or_clone(newer) {
            let hidden = merged.insert(key, row);
            self.bytes -= hidden.map_or(0, |hidden| bytes_of(&hidden));
        }
        self.frozen.push(Arc::new(merged));
    }
}

fn bytes_of(row: &RowWrite) -> usize {
    let text = |value: &IndexValue| if let IndexValue::Text(text) = value { text.len() } else { 0 };
    let content = match &row.change {
        RowChange::Put { body, index } => body.len() + index.iter().map(text).sum::<usize>(),
        RowChange::Delete => 0,
    };
    content + row.key.key.len() + ROW_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use model::{Position, Tenant};

    use super::*;

    fn row(key: u64, at: u64) -> RowWrite {
        RowWrite {
            key: RowKey { tenant: Tenant::default(), key: key.to_string().into() },
            position: Position::new(at).expect("from 1"),
            change: RowChange::Put { body: "x".repeat(usize::try_from(at % 7).expect("few")), index: Vec::new() },
        }
    }

    #[test]
    fn whatever_the_layers_the_newest_row_is_found_and_bytes_are_counted_once() {
        let (mut layers, mut file, mut expected) = (Layers::default(), Rows::new(), Rows::new());
        let mut part = Vec::new();
        for at in 1..=5_000 {
            let next = row(at * at % 97, at);
            expected.insert(next.key.clone(), Arc::new(next.clone()));
            layers.put(next);
            match at % 50 {
                7 | 13 | 27 | 35 | 41 => assert!(layers.share().len() < 12),
                30 => part = layers.begin_flush(),
                45 => {
                    let is_stored = at % 3 > 0;
                    layers.end_flush(is_stored);
                    if is_stored {
                        part.drain(..).for_each(|layer| file.extend((*layer).clone()));
                    }
                }
                _ => {}
            }
            let found = |key: &RowKey| layers.find(key).or_else(|| file.get(key)).cloned();
            assert!(expected.iter().all(|(key, row)| found(key).is_some_and(|found| found == *row)));
        }
        layers.begin_flush();
        layers.end_flush(true);
        assert_eq!((layers.bytes(), layers.share().len()), (0, 0));
    }
}
