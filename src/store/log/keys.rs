//! Index keys of tables and runs, merged in order.

use std::{io, sync::Arc};

use super::{
    run::{Run, RunKeys},
    table::{Table, TableKeys},
};
use crate::store::index::Key;

/// A key as a number, which sorts as its bytes do.
pub(super) type Word = u128;

/// A key as bytes.
pub(super) fn bytes(word: Word) -> Key {
    word.to_be_bytes()
}

/// A key as a number.
pub(super) fn word(key: &Key) -> Word {
    Word::from_be_bytes(*key)
}

/// Everything that has keys.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Newest first; the first one is written to.
    pub(super) tables: Vec<Arc<Table>>,
    /// On the disk, in no order.
    pub(super) runs: Vec<Arc<Run>>,
}

impl Levels {
    /// The keys from one to another, both included, in order.
    pub(super) fn range(&self, from: Word, to: Word) -> io::Result<Merged> {
        let mut sources = Vec::new();
        for table in &self.tables {
            let mut keys = table.range(from, to);
            if let Some(head) = keys.next() {
                sources.push((head, Source::Table(keys)));
            }
        }
        for run in &self.runs {
            let mut keys = run.range(from, to);
            if let Some(head) = keys.next() {
                sources.push((head?, Source::Run(keys)));
            }
        }
        Ok(Merged { sources })
    }

    /// Whether any has one of a range of keys: without a block read where a filter knows that there is none.
    pub(super) fn has(&self, key: Word) -> io::Result<bool> {
        Ok(self.range(key, key)?.next().transpose()?.is_some())
    }
}

#[derive(Debug)]
enum Source {
    Table(TableKeys),
    Run(RunKeys),
}

/// Keys of several sources in order. There are few of them, so that the lowest is looked for one by one.
#[derive(Debug)]
pub(super) struct Merged {
    sources: Vec<(Word, Source)>,
}

impl Merged {
    /// The keys of some runs.
    pub(super) fn of(runs: &[Arc<Run>]) -> io::Result<Self> {
        let levels = Levels {
            tables: Vec::new(),
            runs: runs.to_vec(),
        };
        levels.range(0, Word::MAX)
    }
}

impl Iterator for Merged {
    type Item = io::Result<Word>;

    fn next(&mut self) -> Option<Self::Item> {
        let lowest = (0..self.sources.len()).min_by_key(|at| self.sources[*at].0)?;
        let (head, source) = &mut self.sources[lowest];
        let key = *head;
        let next = match source {
            Source::Table(keys) => keys.next().map(Ok),
            Source::Run(keys) => keys.next(),
        };
        match next {
            Some(Ok(next)) => *head = next,
            Some(Err(error)) => {
                self.sources.clear();
                return Some(Err(error));
            }
            None => {
                self.sources.swap_remove(lowest);
            }
        }
        Some(Ok(key))
    }
}
