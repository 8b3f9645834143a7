//! What a check finds when rows, index entries or signatures are not as they should be.

use super::*;

fn filled(count: u64) -> (tempfile::TempDir, Store, Vec<Event>) {
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
