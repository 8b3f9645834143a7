//! What a check finds when rows, index entries or signatures are not as they should be.

use super::*;
use crate::store::{Check, index};

fn filled(count: u64) -> (tempfile::TempDir, FjallStore, Vec<Event>) {
    let (home, store) = open();
    let keys = Keys::generate();
    let events: Vec<Event> = (0..count)
        .map(|n| {
            let draft = Draft::new(1).tag(["t", "x"]).tag(["t", &n.to_string()]);
            draft.content("x").sign(&keys, 100 + n).unwrap()
        })
        .collect();
    append(&store, &events.iter().collect::<Vec<_>>());
    (home, store, events)
}

fn totals(check: &Check) -> [u64; 3] {
    [&check.unindexed, &check.dangling, &check.damaged].map(|faults| faults.total)
}

#[test]
fn a_whole_store_is_sound_also_after_deletions_and_compaction() {
    let (_home, store, events) = filled(50);
    let keys = Keys::generate();
    let address = Draft::new(30023).tag(["d", "a"]);
    let versions = [5, 6].map(|at| address.clone().sign(&keys, at).unwrap());
    let late = Draft::new(1)
        .tag(["expiration", "500"])
        .sign(&keys, 7)
        .unwrap();
    append(&store, &[&versions[0], &versions[1], &late]);
    let check = store.check().unwrap();
    assert!(check.is_sound(), "{check:?}");
    assert_eq!(check.events, 52);
    assert_eq!(store.expire(600, 10).unwrap(), 1);
    store.purge(&[events[3].id], b"").unwrap();
    store.compact().unwrap();
    let check = store.check().unwrap();
    assert!(check.is_sound(), "{check:?}");
    // Of the notes id, author, author and kind, kind, time and two tags; of the address its own in place of tags `t`.
    assert_eq!((check.events, check.entries), (50, 49 * 7 + 7));
}

#[test]
fn what_is_missing_left_over_or_changed_is_counted_and_named() {
    let (_home, store, events) = filled(30);
    let keys = store.keyer.keys(&events[4], 104, 5);
    store.index.remove(keys[2]).unwrap();
    let check = store.check().unwrap();
    assert_eq!(totals(&check), [1, 0, 0]);
    assert!(check.unindexed.first[0].contains(&events[4].id.to_hex()));

    // As many as there should be, and yet wrong.
    let stray = index::key(&store.keyer.kind(Kind::from(7)), 1, 5);
    store.index.insert(stray, []).unwrap();
    let nothing = index::key(&store.keyer.kind(Kind::from(7)), 1, 999);
    store.index.insert(nothing, []).unwrap();
    assert_eq!(totals(&store.check().unwrap()), [1, 2, 0]);

    let changed = events[8].as_json().replace("\"x\"", "\"y\"");
    store
        .events
        .insert(9u64.to_be_bytes(), changed.as_bytes())
        .unwrap();
    store.events.insert(11u64.to_be_bytes(), b"{}").unwrap();
    let check = store.check().unwrap();
    assert_eq!(check.damaged.total, 2, "{check:?}");
    assert!(check.damaged.first[0].starts_with("row 9:"), "{check:?}");
    assert!(!check.is_sound());
    for seq in 12..=30u64 {
        store.events.insert(seq.to_be_bytes(), b"").unwrap();
    }
    let check = store.check().unwrap();
    assert_eq!((check.damaged.total, check.damaged.first.len()), (21, 20));
}
