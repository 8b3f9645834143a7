//! The log under what a disk can do to it.

mod check;
mod full;
mod migrate;
mod power;
mod sim;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use nostr::{Event, EventId, Filter};

use self::sim::Sim;
use super::{
    Log, LogStore, Options,
    keys::{self, Word},
    recover,
};
use crate::store::{
    Error, Outcome, Query, Record,
    append::time,
    index::{self, Key, Keyer},
    query,
};

/// Sizes at which everything happens often.
const SMALL: Options = Options {
    segment: 16 << 10,
    step: 4 << 10,
    table: 200,
    recent: 2 << 10,
};

impl LogStore {
    pub(in crate::store) fn keyer(&self) -> Keyer {
        self.log.keyer
    }

    pub(in crate::store) fn living_keys(&self) -> Vec<Key> {
        living_keys(&self.log)
    }

    pub(in crate::store) fn hold(&self) -> impl crate::store::view::View + Send + use<'_> {
        self.log.snapshot()
    }
}

/// The keys of the index that lead to rows.
fn living_keys(log: &Log) -> Vec<Key> {
    let snapshot = log.snapshot();
    let all = snapshot.levels.range(0, Word::MAX).unwrap();
    let keys: Vec<Key> = all.map(|key| keys::bytes(key.unwrap())).collect();
    let state = log.state();
    keys.into_iter()
        .filter(|key| index::is_rows(key) && state.is_there(index::split(key).1))
        .collect()
}

fn open(disk: &Arc<Sim>) -> Result<Log, Error> {
    let disk = Arc::clone(disk) as Arc<dyn super::Disk>;
    recover::open(disk, Path::new("sim"), SMALL)
}

fn records(events: &[Event]) -> Vec<Record> {
    events.iter().cloned().map(Record::new).collect()
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::New { .. } => "new",
        Outcome::Duplicate => "duplicate",
        Outcome::Superseded => "superseded",
        Outcome::Deleted => "deleted",
        Outcome::Unrepresentable => "unrepresentable",
    }
}

fn ids(log: &Log, filters: &[Filter], now: u64) -> Vec<EventId> {
    let hits = query::run(&log.snapshot(), &Query::all(filters, now)).unwrap();
    hits.iter().map(|hit| hit.id).collect()
}

fn all_ids(log: &Log) -> BTreeSet<EventId> {
    let rows = log.read_after(0, usize::MAX).unwrap();
    rows.iter().map(|row| row.event.id).collect()
}

/// No index entry without its event, and the reverse.
fn assert_whole(log: &Log) {
    let rows = log.read_after(0, usize::MAX).unwrap();
    let mut wanted: Vec<Key> = rows
        .iter()
        .flat_map(|row| log.keyer.keys(&row.event, time(&row.event), row.seq))
        .collect();
    wanted.sort_unstable();
    assert_eq!(living_keys(log), wanted);
    let mut seen = ids(log, &[Filter::new()], 0);
    assert_eq!(seen.len(), rows.len());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), rows.len());
}
