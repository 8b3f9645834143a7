//! A key that asked to be forgotten (NIP-62) is: from every answer and for good, also when a crash comes between.

use super::*;
use crate::store::append;

fn wrap(to: &Keys, at: u64) -> Event {
    let to = to.public_key().to_hex();
    let draft = Draft::new(1059).tag(["p", &to]);
    draft.sign(&Keys::generate(), at).unwrap()
}

fn request(keys: &Keys, at: u64) -> Event {
    let draft = Draft::new(62).tag(["relay", "ALL_RELAYS"]);
    draft.sign(keys, at).unwrap()
}

/// What one key wrote, and what is about it, up to a time and after it.
struct World {
    gone: Vec<Event>,
    stays: Vec<Event>,
    keys: Keys,
}

const UNTIL: u64 = 1000;

impl World {
    fn new(notes: u64) -> Self {
        let (keys, other) = (Keys::generate(), Keys::generate());
        let mut gone: Vec<Event> = (0..notes)
            .map(|n| note(&keys, &n.to_string(), UNTIL - n % 500))
            .collect();
        let record = Draft::new(4781).sign(&keys, 3).unwrap();
        let address = Draft::new(30000).tag(["d", "x"]).sign(&keys, 5).unwrap();
        let delete = deletion(&keys, &note(&keys, "?", 1), 6);
        gone.extend([record, address, delete, wrap(&keys, 7), wrap(&keys, UNTIL)]);
        let about = Draft::new(1)
            .tag(["p", &keys.public_key().to_hex()])
            .sign(&other, 8)
            .unwrap();
        let stays = vec![
            note(&other, "other", 9),
            about,
            wrap(&other, 10),
            note(&keys, "later", UNTIL + 1),
            wrap(&keys, UNTIL + 1),
            request(&keys, 11),
        ];
        Self { gone, stays, keys }
    }

    fn fill(&self, store: &FjallStore) {
        let all: Vec<&Event> = self.gone.iter().chain(&self.stays).collect();
        for part in all.chunks(500) {
            assert!(append(store, part).iter().all(stored));
        }
    }

    fn assert_gone(&self, store: &FjallStore) {
        let mut left = ids(store, Filter::new());
        let mut wanted: Vec<EventId> = self.stays.iter().map(|event| event.id).collect();
        left.sort();
        wanted.sort();
        assert_eq!(left, wanted);
        random::assert_index_is_exact(store);
        let gone: Vec<&Event> = self.gone.iter().collect();
        let outcomes = append(store, &gone);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Deleted));
    }
}

#[test]
fn who_vanishes_is_forgotten_up_to_then_and_for_good() {
    let (home, store) = open();
    let world = World::new(1200);
    world.fill(&store);
    let author = world.keys.public_key();
    assert_eq!(store.vanish(&author, UNTIL).unwrap(), world.gone.len());
    world.assert_gone(&store);
    // An earlier request takes nothing back.
    assert_eq!(store.vanish(&author, 5).unwrap(), 0);
    drop(store);
    let store = FjallStore::open(home.path()).unwrap();
    world.assert_gone(&store);
    let again = [
        note(&world.keys, "again", UNTIL + 2),
        request(&world.keys, 12),
        wrap(&world.keys, UNTIL + 2),
    ];
    let outcomes = append(&store, &again.iter().collect::<Vec<_>>());
    assert!(outcomes.iter().all(stored));
}

#[test]
fn who_vanishes_before_writing_anything_is_not_taken_either() {
    let (_home, store) = open();
    let world = World::new(3);
    let author = world.keys.public_key();
    assert_eq!(store.vanish(&author, UNTIL).unwrap(), 0);
    append(&store, &world.stays.iter().collect::<Vec<_>>());
    world.assert_gone(&store);
}

#[test]
fn a_time_beyond_the_index_covers_everything() {
    let (_home, store) = open();
    let keys = Keys::generate();
    append(&store, &[&note(&keys, "x", u64::from(u32::MAX))]);
    assert_eq!(store.vanish(&keys.public_key(), u64::MAX).unwrap(), 1);
}

#[test]
fn a_request_to_vanish_cannot_be_deleted() {
    let keys = Keys::generate();
    let request = request(&keys, 1);
    let delete = deletion(&keys, &request, 2);
    for order in [[&request, &delete], [&delete, &request]] {
        both_ways(&order, |store, outcomes| {
            assert!(outcomes.iter().all(stored));
            assert!(store.get(&request.id).unwrap().is_some());
        });
    }
}

#[test]
fn a_store_goes_on_with_what_a_crash_cut_off() {
    for removed_before in [0, 7] {
        let (home, store) = open();
        let world = World::new(20);
        world.fill(&store);
        let author = world.keys.public_key();
        // What the first commit writes, and some of the rest.
        let mut tombstone = vec![b'f'];
        tombstone.extend(author.as_bytes());
        let mut note = author.as_bytes().to_vec();
        note.extend(UNTIL.to_be_bytes());
        store.meta.insert(tombstone, UNTIL.to_be_bytes()).unwrap();
        store.meta.insert("vanishing", note).unwrap();
        let mut batch = store.db.batch();
        for event in &world.gone[..removed_before] {
            let seq = store.get(&event.id).unwrap().unwrap().seq;
            append::remove(&store, &mut batch, seq, event);
        }
        batch.commit().unwrap();
        drop(store);
        let store = FjallStore::open(home.path()).unwrap();
        world.assert_gone(&store);
        assert!(store.meta.get("vanishing").unwrap().is_none());
    }
}

#[test]
fn an_empty_note_does_not_replace_one_that_is_there() {
    let (_home, store) = open();
    store.purge(&[], b"").unwrap();
    assert_eq!(store.purging().unwrap().as_deref(), Some(&b""[..]));
    store.purge(&[], b"why").unwrap();
    store.purge(&[], b"").unwrap();
    assert_eq!(store.purging().unwrap().as_deref(), Some(&b"why"[..]));
    store.purged().unwrap();
    assert_eq!(store.purging().unwrap(), None);
}
