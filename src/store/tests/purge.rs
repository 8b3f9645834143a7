//! What the owner purges is gone: from every answer, for good, and from the disk.

use super::*;
use crate::store::view::View as _;

fn record(keys: &Keys, content: &str) -> Event {
    let tags = [vec!["v", "0"], vec!["seq", "0"], vec!["e", "1"]];
    let draft = tags.into_iter().fold(Draft::new(4781), Draft::tag);
    draft.content(content).sign(keys, 10).unwrap()
}

#[test]
fn what_is_purged_goes_whatever_its_kind_and_does_not_come_back() {
    let (home, store) = open();
    let (session, other) = (Keys::generate(), Keys::generate());
    let gone = [
        record(&session, "x"),
        deletion(&session, &note(&other, "", 1), 2),
    ];
    let stays = [record(&other, "x"), note(&session, "y", 3)];
    append(&store, &gone.iter().chain(&stays).collect::<Vec<_>>());
    let ids_of = gone.each_ref().map(|event| event.id);
    let named = [&ids_of[..], &ids_of[..1], &[EventId::all_zeros()]].concat();
    assert_eq!(store.purge(&named, b"why").unwrap(), 2);
    random::assert_index_is_exact(&store);
    let mut left = ids(&store, Filter::new());
    left.sort();
    let mut wanted = stays.each_ref().map(|event| event.id);
    wanted.sort();
    assert_eq!(left, wanted);
    // Nor when its author deletes it too, which a record does not heed.
    let deleted = deletion(&session, &gone[0], 20);
    assert!(stored(&append(&store, &[&deleted])[0]));
    assert_eq!(append(&store, &[&gone[0], &gone[1]]), [Outcome::Deleted; 2]);
    drop(store);
    let store = Store::open(home.path()).unwrap();
    assert_eq!(append(&store, &[&gone[0]]), [Outcome::Deleted]);
    assert_eq!(store.purging().unwrap().as_deref(), Some(&b"why"[..]));
    store.purged().unwrap();
    assert_eq!(store.purging().unwrap(), None);
    // What was never here is not refused.
    assert_eq!(store.purge(&[stays[1].id], b"").unwrap(), 1);
}

/// The files below a folder in which these bytes are.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if std::fs::read(&path)
            .unwrap()
            .windows(bytes.len())
            .any(|it| it == bytes)
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn what_is_purged_leaves_the_disk_and_everything_else_stays() {
    let (home, store) = open();
    let keys = Keys::generate();
    let fill = |from: u64, to: u64| {
        let notes: Vec<Event> = (from..to)
            .map(|at| {
                note(
                    &keys,
                    &Keys::generate().public_key().to_hex().repeat(20),
                    at,
                )
            })
            .collect();
        append(&store, &notes.iter().collect::<Vec<_>>());
    };
    let canary = Keys::generate().public_key().to_hex();
    let (first, second) = (record(&keys, &canary), note(&keys, &canary, 11));
    append(&store, &[&first]);
    fill(100, 400);
    append(&store, &[&second]);
    fill(400, 700);
    assert!(!holding(home.path(), canary.as_bytes()).is_empty());
    let before = ids(&store, Filter::new());
    let long = store.hold();
    assert_eq!(store.purge(&[first.id, second.id], b"").unwrap(), 2);
    assert_eq!(long.find(&first.id).unwrap().unwrap().event, first);
    let reader = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(long);
        });
        store.erase().unwrap()
    });
    assert!(reader);
    assert_eq!(
        holding(home.path(), canary.as_bytes()),
        Vec::<std::path::PathBuf>::new()
    );
    let gone = [first.id, second.id];
    let wanted: Vec<EventId> = before.into_iter().filter(|id| !gone.contains(id)).collect();
    assert_eq!(ids(&store, Filter::new()), wanted);
    fill(700, 710);
    let after = ids(&store, Filter::new());
    drop(store);
    assert_eq!(
        holding(home.path(), canary.as_bytes()),
        Vec::<std::path::PathBuf>::new()
    );
    let store = Store::open(home.path()).unwrap();
    assert_eq!(ids(&store, Filter::new()), after);
    random::assert_index_is_exact(&store);
    assert_eq!(append(&store, &[&first, &second]), [Outcome::Deleted; 2]);
}
