//! The store's rules, one by one.

mod check;
mod purge;
mod random;
mod vanish;

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use nostr::{Event, EventId, Filter, JsonUtil, Keys, Kind, Timestamp};

use super::{
    Error, EventStore, Feed, FjallStore, Outcome, Query, Record, erase,
    events::{FORMAT, META_VERSION},
};
use crate::nips::{Draft, nip01, nip40};

fn open() -> (tempfile::TempDir, FjallStore) {
    let home = tempfile::tempdir().unwrap();
    let store = FjallStore::open(home.path()).unwrap();
    (home, store)
}

fn append(store: &FjallStore, events: &[&Event]) -> Vec<Outcome> {
    let records: Vec<Record> = events
        .iter()
        .map(|event| Record::new((*event).clone()))
        .collect();
    store.append(&records).unwrap()
}

fn ids_at(store: &FjallStore, filters: &[Filter], now: u64) -> Vec<EventId> {
    let hits = store.query(&Query::all(filters, now)).unwrap();
    hits.iter().map(|hit| hit.id).collect()
}

fn ids(store: &FjallStore, filter: Filter) -> Vec<EventId> {
    ids_at(store, &[filter], 0)
}

fn stored(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::New { .. })
}

fn note(keys: &Keys, content: &str, at: u64) -> Event {
    Draft::new(1).content(content).sign(keys, at).unwrap()
}

fn deletion(keys: &Keys, event: &Event, at: u64) -> Event {
    Draft::new(5)
        .tag(["e", &event.id.to_hex()])
        .sign(keys, at)
        .unwrap()
}

/// Appends events each in its own batch or all in one, since the rules are the same.
fn both_ways(events: &[&Event], check: impl Fn(&FjallStore, &[Outcome])) {
    let (_home, store) = open();
    let outcomes = append(&store, events);
    check(&store, &outcomes);
    let (_home, store) = open();
    let outcomes: Vec<Outcome> = events
        .iter()
        .flat_map(|event| append(&store, &[event]))
        .collect();
    check(&store, &outcomes);
}

#[test]
fn keeps_an_event_once_and_returns_its_json() {
    let event = note(&Keys::generate(), "x\"\u{7}é", 10);
    both_ways(&[&event, &event], |store, outcomes| {
        assert_eq!(outcomes, [Outcome::New { seq: 1 }, Outcome::Duplicate]);
        let filter = [Filter::new()];
        let hits = store.query(&Query::all(&filter, 0)).unwrap();
        assert_eq!(hits[0].json.as_deref(), Some(event.as_json().as_bytes()));
        assert_eq!(store.get(&event.id).unwrap().unwrap().event, event);
    });
}

#[test]
fn the_newest_version_wins_and_the_lowest_id_on_a_tie() {
    let keys = Keys::generate();
    for draft in [
        Draft::new(0),
        Draft::new(10002),
        Draft::new(30000).tag(["d", "x"]),
    ] {
        let sign = |text: &str, at| draft.clone().content(text).sign(&keys, at).unwrap();
        let (old, new) = (sign("old", 1), sign("new", 2));
        let mut tie = [sign("a", 3), sign("b", 3)];
        tie.sort_by_key(|event| event.id);
        let [low, high] = &tie;
        let all = Filter::new();
        both_ways(&[&old, &new, &old], |store, outcomes| {
            assert!(stored(&outcomes[0]) && stored(&outcomes[1]));
            assert_eq!(outcomes[2], Outcome::Superseded);
            assert_eq!(ids(store, all.clone()), [new.id]);
        });
        both_ways(&[high, low, &new], |store, outcomes| {
            assert!(stored(&outcomes[1]));
            assert_eq!(outcomes[2], Outcome::Superseded);
            assert_eq!(ids(store, all.clone()), [low.id]);
        });
        both_ways(&[low, high], |store, outcomes| {
            assert_eq!(outcomes[1], Outcome::Superseded);
            assert_eq!(ids(store, all.clone()), [low.id]);
            assert_eq!(store.read_after(0, 10).unwrap().len(), 1);
        });
    }
}

#[test]
fn addresses_differ_by_kind_author_and_identifier() {
    let (a, b) = (Keys::generate(), Keys::generate());
    let sign = |keys: &Keys, kind, d: &str| Draft::new(kind).tag(["d", d]).sign(keys, 5).unwrap();
    let events = [
        sign(&a, 30000, "x"),
        sign(&a, 30000, "y"),
        sign(&a, 30001, "x"),
        sign(&b, 30000, "x"),
        Draft::new(30000).sign(&a, 5).unwrap(),
    ];
    both_ways(&events.iter().collect::<Vec<_>>(), |store, outcomes| {
        assert!(outcomes.iter().all(stored));
        assert_eq!(ids(store, Filter::new()).len(), 5);
        let one = Filter::new()
            .author(a.public_key())
            .kind(Kind::from(30000))
            .identifier("y");
        assert_eq!(ids(store, one), [events[1].id]);
    });
}

#[test]
fn an_author_deletes_in_either_order() {
    let keys = Keys::generate();
    let event = note(&keys, "x", 10);
    let request = deletion(&keys, &event, 11);
    both_ways(&[&event, &request, &event], |store, outcomes| {
        assert!(stored(&outcomes[0]) && stored(&outcomes[1]));
        assert_eq!(outcomes[2], Outcome::Deleted);
        assert_eq!(ids(store, Filter::new()), [request.id]);
    });
    both_ways(&[&request, &event], |store, outcomes| {
        assert_eq!(outcomes[1], Outcome::Deleted);
        assert_eq!(ids(store, Filter::new()), [request.id]);
    });
}

#[test]
fn a_stranger_deletes_nothing_in_either_order() {
    let (keys, stranger) = (Keys::generate(), Keys::generate());
    let event = note(&keys, "x", 10);
    let request = deletion(&stranger, &event, 11);
    for order in [[&event, &request], [&request, &event]] {
        both_ways(&order, |store, outcomes| {
            assert!(outcomes.iter().all(stored));
            assert_eq!(ids(store, Filter::new()).len(), 2);
        });
    }
}

#[test]
fn an_address_is_deleted_up_to_the_requests_time() {
    let keys = Keys::generate();
    let version = |at| Draft::new(30000).tag(["d", "x"]).sign(&keys, at).unwrap();
    let (old, same, new) = (version(9), version(10), version(11));
    let address = format!("30000:{}:x", keys.public_key());
    let request = Draft::new(5).tag(["a", &address]).sign(&keys, 10).unwrap();
    both_ways(&[&old, &request, &same, &new], |store, outcomes| {
        assert!(stored(&outcomes[1]) && stored(&outcomes[3]));
        assert_eq!(outcomes[2], Outcome::Deleted);
        assert_eq!(ids(store, Filter::new()), [new.id, request.id]);
    });
    both_ways(&[&new, &request], |store, _| {
        assert_eq!(ids(store, Filter::new()), [new.id, request.id]);
    });
    let earlier = Draft::new(5).tag(["a", &address]).sign(&keys, 5).unwrap();
    both_ways(&[&request, &earlier, &same], |_, outcomes| {
        assert_eq!(outcomes[2], Outcome::Deleted);
    });
}

#[test]
fn deletions_and_session_records_are_never_deleted() {
    let keys = Keys::generate();
    let request = deletion(&keys, &note(&keys, "x", 1), 2);
    let record = Draft::new(4782).sign(&keys, 2).unwrap();
    for event in [&request, &record] {
        let again = deletion(&keys, event, 3);
        for order in [[event, &again], [&again, event]] {
            both_ways(&order, |store, outcomes| {
                assert!(outcomes.iter().all(stored));
                assert!(store.get(&event.id).unwrap().is_some());
            });
        }
    }
}

#[test]
fn equal_times_come_lowest_id_first_also_at_the_limit() {
    let keys = Keys::generate();
    let mut events: Vec<Event> = (0..20)
        .map(|n| note(&keys, &n.to_string(), if n == 0 { 200 } else { 100 }))
        .collect();
    let (_home, store) = open();
    append(&store, &events.iter().collect::<Vec<_>>());
    events.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    let order: Vec<EventId> = events.iter().map(|event| event.id).collect();
    for limit in 0..=21 {
        let wanted = &order[..limit.min(20)];
        for filter in [
            Filter::new(),
            Filter::new().kind(Kind::TextNote),
            Filter::new().author(keys.public_key()).kind(Kind::TextNote),
        ] {
            assert_eq!(ids(&store, filter.limit(limit)), wanted, "limit {limit}");
        }
    }
}

#[test]
fn times_are_inclusive_and_may_lie_beyond_the_index() {
    let keys = Keys::generate();
    let events = [note(&keys, "a", 0), note(&keys, "b", u64::from(u32::MAX))];
    let beyond = note(&keys, "c", u64::from(u32::MAX) + 1);
    let (_home, store) = open();
    append(&store, &[&events[0], &events[1]]);
    assert_eq!(append(&store, &[&beyond]), [Outcome::Unrepresentable]);
    let count = |since: u64, until: u64| {
        let filter = Filter::new()
            .since(Timestamp::from(since))
            .until(Timestamp::from(until));
        ids(&store, filter).len()
    };
    let max = u64::from(u32::MAX);
    assert_eq!(count(0, 0), 1);
    assert_eq!(count(max, max), 1);
    assert_eq!(count(0, u64::MAX), 2);
    assert_eq!(count(max + 1, u64::MAX), 0);
    assert_eq!(count(1, max - 1), 0);
}

#[test]
fn expired_events_are_not_served_and_then_collected() {
    let keys = Keys::generate();
    let expiring = |at: &str| {
        Draft::new(1)
            .tag(["expiration", at])
            .sign(&keys, 1)
            .unwrap()
    };
    let (soon, later, never) = (expiring("100"), expiring("200"), expiring("4294967296000"));
    let (_home, store) = open();
    append(&store, &[&soon, &later, &never]);
    let all = [Filter::new()];
    assert_eq!(ids_at(&store, &all, 99).len(), 3);
    assert_eq!(ids_at(&store, &all, 100).len(), 2);
    assert_eq!(store.count(&Query::all(&all, 100)).unwrap(), 2);
    assert_eq!(store.expire(150, 10).unwrap(), 1);
    assert_eq!(store.expire(150, 10).unwrap(), 0);
    assert_eq!(ids_at(&store, &all, 0).len(), 2);
    assert!(store.get(&soon.id).unwrap().is_none());
}

#[test]
fn sequence_numbers_grow_across_deletion_and_reopening() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::generate();
    let event = Draft::new(0).content("a").sign(&keys, 1).unwrap();
    let newer = Draft::new(0).content("b").sign(&keys, 2).unwrap();
    let expiring = Draft::new(1)
        .tag(["expiration", "9"])
        .sign(&keys, 1)
        .unwrap();
    {
        let store = FjallStore::open(home.path()).unwrap();
        append(&store, &[&event, &newer, &expiring]);
        store.expire(10, 10).unwrap();
        assert_eq!(store.last_seq(), 3);
        assert!(matches!(
            FjallStore::open(home.path()),
            Err(Error::Locked(_))
        ));
    }
    let store = FjallStore::open(home.path()).unwrap();
    assert_eq!(store.last_seq(), 3);
    assert_eq!(append(&store, &[&event]), [Outcome::Superseded]);
    let next = note(&keys, "x", 1);
    assert_eq!(append(&store, &[&next]), [Outcome::New { seq: 4 }]);
    let seqs: Vec<u64> = store
        .read_after(0, 9)
        .unwrap()
        .iter()
        .map(|row| row.seq)
        .collect();
    assert_eq!(seqs, [2, 4]);
}

#[test]
fn deletions_survive_reopening() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::generate();
    let event = note(&keys, "x", 1);
    append(
        &FjallStore::open(home.path()).unwrap(),
        &[&deletion(&keys, &event, 2)],
    );
    let store = FjallStore::open(home.path()).unwrap();
    assert_eq!(append(&store, &[&event]), [Outcome::Deleted]);
}

#[test]
fn another_format_is_refused() {
    let home = tempfile::tempdir().unwrap();
    {
        let store = FjallStore::open(home.path()).unwrap();
        store
            .meta
            .insert(META_VERSION, (FORMAT + 1).to_be_bytes())
            .unwrap();
    }
    let error = FjallStore::open(home.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Version { found, .. } if found == "2"),
        "{error}"
    );
}

#[test]
fn a_damaged_directory_is_a_typed_error() {
    let home = tempfile::tempdir().unwrap();
    drop(FjallStore::open(home.path()).unwrap());
    break_files(home.path());
    assert!(FjallStore::open(home.path()).is_err());
}

fn break_files(path: &Path) {
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            break_files(&path);
        } else {
            std::fs::write(&path, b"nonsense").unwrap();
        }
    }
}

#[test]
fn json_beyond_the_budget_is_left_out_and_readable() {
    let keys = Keys::generate();
    let events: Vec<Event> = (0..10).map(|n| note(&keys, &"x".repeat(1000), n)).collect();
    let (_home, store) = open();
    append(&store, &events.iter().collect::<Vec<_>>());
    let filters = [Filter::new()];
    let query = Query {
        budget: 3500,
        ..Query::all(&filters, 0)
    };
    let hits = store.query(&query).unwrap();
    let with = hits.iter().filter(|hit| hit.json.is_some()).count();
    assert_eq!((hits.len(), with), (10, 2));
    for hit in hits {
        assert!(store.read(hit.seq).unwrap().is_some());
    }
}

#[test]
fn rows_after_a_sequence_number_are_not_seen() {
    let keys = Keys::generate();
    let events: Vec<Event> = (0..4).map(|n| note(&keys, "x", n)).collect();
    let (_home, store) = open();
    append(&store, &events.iter().collect::<Vec<_>>());
    let filters = [Filter::new()];
    let query = Query {
        up_to: 2,
        ..Query::all(&filters, 0)
    };
    assert_eq!(store.query(&query).unwrap().len(), 2);
}

#[tokio::test]
async fn a_feed_misses_nothing_and_skips_what_is_gone() {
    let (_home, store) = open();
    let store = Arc::new(store);
    let keys = Keys::generate();
    let mut feed = Feed::new(Arc::clone(&store) as Arc<dyn EventStore>, 0);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), feed.next())
            .await
            .is_err()
    );
    let events: Vec<Event> = (0..300).map(|n| note(&keys, &n.to_string(), n)).collect();
    for batch in events.chunks(7) {
        append(&store, &batch.iter().collect::<Vec<_>>());
    }
    append(&store, &[&deletion(&keys, &events[5], 400)]);
    let mut seen = Vec::new();
    while seen.len() < 300 {
        let batch = feed.next().await.unwrap();
        assert!(batch.len() <= 256);
        seen.extend(batch.into_iter().map(|row| row.seq));
    }
    let wanted: Vec<u64> = (1..=301).filter(|seq| *seq != 6).collect();
    assert_eq!(seen, wanted);
    assert_eq!(feed.cursor(), 301);
}
