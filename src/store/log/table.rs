//! The newest index keys, in memory: an ordered set that one thread writes and any thread reads.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

use super::keys::Word;

/// How many keys a reader takes at once, so that it holds nobody up.
const CHUNK: usize = 64;

/// Keys in memory.
#[derive(Debug, Default)]
pub(super) struct Table {
    keys: RwLock<BTreeSet<Word>>,
}

impl Table {
    /// Adds keys.
    pub(super) fn add(&self, keys: impl IntoIterator<Item = Word>) {
        let mut set = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        set.extend(keys);
    }

    pub(super) fn len(&self) -> usize {
        let set = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        set.len()
    }

    /// The keys from one to another, both included, in order. What is added meanwhile may be among them.
    pub(super) fn range(self: &Arc<Self>, from: Word, to: Word) -> TableKeys {
        TableKeys {
            table: Arc::clone(self),
            chunk: Vec::new(),
            rest: Some((from, to)),
            least: CHUNK / 8,
        }
    }

    /// Some of the keys from one to another, last first.
    fn chunk(&self, from: Word, to: Word, most: usize) -> Vec<Word> {
        let set = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut chunk: Vec<Word> = set.range(from..=to).take(most).copied().collect();
        chunk.reverse();
        chunk
    }
}

/// Keys of a [`Table`], in order.
#[derive(Debug)]
pub(super) struct TableKeys {
    table: Arc<Table>,
    /// The next ones, last first.
    chunk: Vec<Word>,
    rest: Option<(Word, Word)>,
    /// How many to take next: many queries need few.
    least: usize,
}

impl Iterator for TableKeys {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        if let Some(key) = self.chunk.pop() {
            return Some(key);
        }
        let (from, to) = self.rest?;
        self.chunk = self.table.chunk(from, to, self.least);
        self.rest = match self.chunk.first() {
            Some(last) if self.chunk.len() == self.least && *last < to => Some((last + 1, to)),
            _ => None,
        };
        self.least = CHUNK;
        self.chunk.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_in_chunks_and_ends_where_it_should() {
        let table = Arc::new(Table::default());
        table.add((0..1000).map(|n| n * 2));
        for (from, to) in [(0, 2000), (3, 501), (10, 10), (11, 11), (5000, 6000)] {
            let wanted: Vec<Word> = (from..=to).filter(|n| n % 2 == 0 && *n < 2000).collect();
            assert_eq!(table.range(from, to).collect::<Vec<_>>(), wanted);
        }
    }
}
