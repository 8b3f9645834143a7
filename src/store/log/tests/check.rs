//! What a check finds when rows or index entries are not as they should be.

use nostr::{JsonUtil as _, Keys, Kind};

use super::*;
use crate::{
    nips::Draft,
    store::{
        Check,
        log::{
            keys::{Levels, word},
            table::Table,
        },
    },
};

/// A log of some notes, of which a few rows hold other bytes than they should.
fn filled(events: &[Event], wrong: &[(usize, &str)]) -> Log {
    let log = open(&Arc::new(Sim::default())).unwrap();
    for (at, event) in events.iter().enumerate() {
        let mut record = Record::new(event.clone());
        if let Some((_, json)) = wrong.iter().find(|(row, _)| *row == at) {
            record.json = bytes::Bytes::copy_from_slice(json.as_bytes());
        }
        log.append(&[record]).unwrap();
    }
    log
}

fn notes(count: u64) -> Vec<Event> {
    let keys = Keys::generate();
    let note = |n| Draft::new(1).content("x").sign(&keys, 100 + n).unwrap();
    (0..count).map(note).collect()
}

/// Changes the keys of the index.
fn with_keys(log: &Log, change: impl FnOnce(&mut Vec<Key>)) {
    let mut changed = living_keys(log);
    change(&mut changed);
    let table = Table::default();
    table.add(changed.iter().map(word));
    log.state_mut().levels = Arc::new(Levels {
        tables: vec![Arc::new(table)],
        runs: Vec::new(),
    });
}

fn totals(check: &Check) -> [u64; 3] {
    [&check.unindexed, &check.dangling, &check.damaged].map(|faults| faults.total)
}

#[test]
fn what_is_missing_or_left_over_is_counted_and_named() {
    let events = notes(30);
    let log = filled(&events, &[]);
    assert!(log.check().unwrap().is_sound());
    let missing = log.keyer.keys(&events[4], 104, 5)[2];
    with_keys(&log, |keys| keys.retain(|key| *key != missing));
    let check = log.check().unwrap();
    assert_eq!(totals(&check), [1, 0, 0]);
    assert!(check.unindexed.first[0].contains(&events[4].id.to_hex()));
    // As many as there should be, and yet wrong.
    let stray = index::key(&log.keyer.kind(Kind::from(7)), 1, 5);
    let nothing = index::key(&log.keyer.kind(Kind::from(7)), 1, 999);
    with_keys(&log, |keys| keys.extend([stray, nothing]));
    assert_eq!(totals(&log.check().unwrap()), [1, 2, 0]);
}

#[test]
fn rows_that_are_no_events_are_counted_and_the_first_are_named() {
    let events = notes(30);
    let changed = events[8].as_json().replace("\"x\"", "\"y\"");
    let check = filled(&events, &[(8, &changed), (10, "{}")])
        .check()
        .unwrap();
    assert_eq!(check.damaged.total, 2, "{check:?}");
    assert!(check.damaged.first[0].starts_with("row 9:"), "{check:?}");
    assert!(!check.is_sound());
    let wrong: Vec<(usize, &str)> = (0..25).map(|at| (at, "{}")).collect();
    let check = filled(&events, &wrong).check().unwrap();
    assert_eq!((check.damaged.total, check.damaged.first.len()), (25, 20));
}
