//! A store that fjall holds, as treefort wrote it before the log.

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use nostr::{
    Keys, Kind,
    hashes::{Hash as _, sha256},
};

use super::*;
use crate::{nips::Draft, store::EventStore as _};

fn note(keys: &Keys, content: &str, at: u64) -> Event {
    Draft::new(1).content(content).sign(keys, at).unwrap()
}

fn joined(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag][..], &parts.concat()].concat()
}

/// Who and what is in [`written`].
struct World {
    owner: Keys,
    forgotten: Keys,
    vanishing: Keys,
    kept: Vec<(u64, Event)>,
    deleted: Event,
    purged: Event,
    replaced: Event,
}

/// Writes a store in fjall's format, with gaps in its numbers.
fn written(path: &Path, version: u32) -> World {
    let [owner, forgotten, vanishing] = [(); 3].map(|()| Keys::generate());
    let kept = (1..=2500)
        .map(|seq| (seq * 3, note(&owner, &seq.to_string(), 100 + seq)))
        .collect();
    let replaced = Draft::new(30023).tag(["d", "x"]).sign(&owner, 50).unwrap();
    let world = World {
        kept,
        deleted: note(&owner, "deleted", 1),
        purged: note(&owner, "purged", 1),
        replaced,
        owner,
        forgotten,
        vanishing,
    };
    let owner = world.owner.public_key();
    let db = Database::builder(path).open().unwrap();
    let [events, _index, meta] = ["events-1", "index-1", "meta-1"]
        .map(|name| db.keyspace(name, KeyspaceCreateOptions::default).unwrap());
    for (seq, event) in &world.kept {
        events.insert(seq.to_be_bytes(), record(event)).unwrap();
    }
    let going = note(&world.vanishing, "it was to go when the power went", 70);
    events
        .insert(8000u64.to_be_bytes(), record(&going))
        .unwrap();
    let d = sha256::Hash::hash(b"x");
    let kind = Kind::from(30023).as_u16().to_be_bytes();
    let author = owner.as_bytes().as_slice();
    let rows: [(Vec<u8>, Vec<u8>); 8] = [
        (b"version".to_vec(), version.to_be_bytes().to_vec()),
        (b"hash".to_vec(), vec![7; 16]),
        (b"seq".to_vec(), 9000u64.to_be_bytes().to_vec()),
        (joined(b'd', &[world.deleted.id.as_bytes(), author]), vec![]),
        (
            joined(b'd', &[world.purged.id.as_bytes(), author]),
            b"p".to_vec(),
        ),
        (
            joined(b'a', &[&kind, author, d.as_byte_array()]),
            60u64.to_be_bytes().to_vec(),
        ),
        (
            joined(b'f', &[world.forgotten.public_key().as_bytes()]),
            80u64.to_be_bytes().to_vec(),
        ),
        (b"purging".to_vec(), b"why".to_vec()),
    ];
    for (key, value) in rows {
        meta.insert(key, value).unwrap();
    }
    let until = 90u64.to_be_bytes();
    let under_way = joined(
        world.vanishing.public_key().as_bytes()[0],
        &[&world.vanishing.public_key().as_bytes()[1..], &until],
    );
    meta.insert("vanishing", under_way).unwrap();
    db.persist(PersistMode::SyncAll).unwrap();
    world
}

fn record(event: &Event) -> Vec<u8> {
    Record::new(event.clone()).json.to_vec()
}

fn outcome(store: &LogStore, event: &Event) -> &'static str {
    word(&store.append(&records(std::slice::from_ref(event))).unwrap()[0])
}

#[test]
fn what_fjall_holds_is_taken_over_with_its_numbers_and_tombstones() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("events");
    let world = written(&path, 1);
    // A crash left a log that is not complete.
    let begun = LogStore::begin(&home.path().join("events.new"), SMALL).unwrap();
    begun
        .append(&records(&[note(&world.owner, "half", 3)]))
        .unwrap();
    drop(begun);
    let all = |store: &LogStore| -> Vec<(u64, Event)> {
        let rows = store.read_after(0, usize::MAX).unwrap();
        rows.into_iter().map(|row| (row.seq, row.event)).collect()
    };
    let store = LogStore::with(&path, SMALL).unwrap();
    assert_eq!(all(&store), world.kept);
    assert_eq!(store.last_seq(), 9000);
    assert_eq!(store.purging().unwrap().as_deref(), Some(&b"why"[..]));
    assert_whole(&store.log);
    drop(store);
    // The crash came between the two renames.
    std::fs::rename(&path, home.path().join("events.new")).unwrap();
    std::fs::create_dir(home.path().join("events.old")).unwrap();
    let store = LogStore::with(&path, SMALL).unwrap();
    assert_eq!(all(&store), world.kept);
    assert!(!home.path().join("events.old").exists());
    for event in [
        &world.deleted,
        &world.purged,
        &world.replaced,
        &note(&world.forgotten, "x", 80),
        &note(&world.vanishing, "x", 90),
    ] {
        assert_eq!(outcome(&store, event), "deleted", "{event:?}");
    }
    for event in [
        &note(&world.forgotten, "x", 81),
        &note(&world.vanishing, "x", 91),
        &Draft::new(30023)
            .tag(["d", "x"])
            .sign(&world.owner, 61)
            .unwrap(),
    ] {
        assert_eq!(outcome(&store, event), "new", "{event:?}");
    }
    assert_eq!(outcome(&store, &world.kept[7].1), "duplicate");
}

#[test]
fn what_is_not_known_is_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("events");
    written(&path, 2);
    let refused = LogStore::open(&path).unwrap_err();
    assert!(matches!(refused, Error::Version { .. }), "{refused:?}");
    assert!(super::super::fjall::is_there(&path));
    let ours = home.path().join("ours");
    drop(LogStore::open(&ours).unwrap());
    std::fs::write(ours.join("backup.zip"), "mine").unwrap();
    std::fs::write(ours.join("00000099.run"), "left by a crash").unwrap();
    drop(LogStore::open(&ours).unwrap());
    assert!(ours.join("backup.zip").exists() && !ours.join("00000099.run").exists());
    let other = home.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter.txt"), "dear").unwrap();
    let refused = LogStore::open(&other).unwrap_err();
    assert!(matches!(refused, Error::Foreign(_)), "{refused:?}");
    assert_eq!(std::fs::read(other.join("letter.txt")).unwrap(), b"dear");
}
