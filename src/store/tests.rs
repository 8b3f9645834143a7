//! The store's rules, one by one, and a random comparison with a naive store in memory.

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use nostr::{Event, EventId, Filter, JsonUtil, Keys, Kind, Timestamp};

use super::{
    Error, EventStore, Feed, FjallStore, Outcome, Query, Record,
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

/// xorshift64*, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The rules again, as plainly as they can be written.
#[derive(Default)]
struct Naive {
    events: Vec<Event>,
    dead: HashSet<(String, String)>,
    dead_addresses: Vec<(String, u64)>,
}

fn address(event: &Event) -> Option<String> {
    nip01::identifier(event).map(|d| format!("{}:{}:{d}", event.kind.as_u16(), event.pubkey))
}

fn eternal(event: &Event) -> bool {
    matches!(event.kind.as_u16(), 5 | 4781..=4787)
}

impl Naive {
    fn append(&mut self, event: &Event) -> &'static str {
        if self.events.iter().any(|known| known.id == event.id) {
            return "duplicate";
        }
        let own = (event.id.to_hex(), event.pubkey.to_hex());
        if !eternal(event) && self.dead.contains(&own) {
            return "deleted";
        }
        if let Some(address) = address(event) {
            let at = event.created_at.as_secs();
            if self
                .dead_addresses
                .iter()
                .any(|(dead, until)| *dead == address && at <= *until)
            {
                return "deleted";
            }
            let current = self
                .events
                .iter()
                .position(|known| self::address(known).as_ref() == Some(&address));
            if let Some(current) = current {
                let known = &self.events[current];
                if (known.created_at, event.id) > (event.created_at, known.id)
                    && known.created_at >= event.created_at
                {
                    return "superseded";
                }
                self.events.remove(current);
            }
        }
        if event.kind.as_u16() == 5 {
            for tag in event.tags.iter() {
                let value = tag.content().unwrap_or_default().to_owned();
                match tag.as_slice()[0].as_str() {
                    "e" => {
                        self.events.retain(|known| {
                            known.id.to_hex() != value
                                || known.pubkey != event.pubkey
                                || eternal(known)
                        });
                        self.dead.insert((value, event.pubkey.to_hex()));
                    }
                    "a" if value.split(':').nth(1) == Some(&event.pubkey.to_hex()) => {
                        self.events.retain(|known| {
                            address(known).as_ref() != Some(&value)
                                || known.created_at > event.created_at
                        });
                        self.dead_addresses
                            .push((value, event.created_at.as_secs()));
                    }
                    _ => {}
                }
            }
        }
        self.events.push(event.clone());
        "new"
    }

    fn query(&self, filters: &[Filter], now: u64) -> Vec<EventId> {
        let mut found: Vec<&Event> = Vec::new();
        for filter in filters {
            let mut matching: Vec<&Event> = self
                .events
                .iter()
                .filter(|event| nip01::matches(filter, event) && !nip40::is_expired(event, now))
                .collect();
            matching.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
            matching.truncate(filter.limit.unwrap_or(usize::MAX));
            found.extend(matching);
        }
        found.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
        found.dedup_by_key(|event| event.id);
        found.iter().map(|event| event.id).collect()
    }
}

fn random_event(random: &mut Random, keys: &[Keys], known: &[Event]) -> Event {
    let author = random.pick(keys);
    let kind = *random.pick(&[0, 1, 1, 1, 5, 7, 10002, 30000, 30000, 30001, 4782]);
    let mut draft = Draft::new(kind).content(random.below(1000).to_string());
    if kind >= 30000 {
        draft = draft.tag(["d", *random.pick(&["", "x", "y"])]);
    }
    for _ in 0..random.below(4) {
        let name = *random.pick(&["e", "E", "t", "p", "long", "t"]);
        draft = draft.tag([name, *random.pick(&["1", "2", "3"])]);
    }
    if kind == 5 && !known.is_empty() {
        for _ in 0..=random.below(2) {
            let target = random.pick(known);
            draft = match address(target) {
                Some(address) if random.below(2) == 0 => draft.tag(["a", &address]),
                _ => draft.tag(["e", &target.id.to_hex()]),
            };
        }
    }
    if random.below(8) == 0 {
        draft = draft.tag(["expiration", *random.pick(&["50", "150"])]);
    }
    draft.sign(author, 100 + random.below(12) as u64).unwrap()
}

fn random_filter(random: &mut Random, keys: &[Keys], known: &[Event]) -> Filter {
    let mut filter = Filter::new();
    if random.below(3) == 0 {
        let count = random.below(3);
        filter = filter.authors((0..count).map(|_| random.pick(keys).public_key()));
    }
    if random.below(2) == 0 {
        let count = random.below(4);
        filter = filter.kinds(
            (0..count).map(|_| Kind::from(*random.pick(&[0, 1, 5, 7, 10002, 30000, 30001, 4782]))),
        );
    }
    for name in ["e", "E", "t", "d"] {
        if random.below(6) == 0 {
            let count = random.below(3);
            let values: Vec<&str> = (0..count)
                .map(|_| *random.pick(&["", "x", "1", "2", "3"]))
                .collect();
            filter = filter.custom_tags(name.parse().unwrap(), values);
        }
    }
    if random.below(8) == 0 {
        filter = filter.ids((0..random.below(4)).map(|_| random.pick(known).id));
    }
    if random.below(4) == 0 {
        filter = filter.since(Timestamp::from(100 + random.below(12) as u64));
    }
    if random.below(4) == 0 {
        filter = filter.until(Timestamp::from(100 + random.below(12) as u64));
    }
    if random.below(2) == 0 {
        filter = filter.limit(random.below(12));
    }
    filter
}

#[test]
fn agrees_with_a_naive_store_on_random_events() {
    let keys: Vec<Keys> = (0..4).map(|_| Keys::generate()).collect();
    let mut outcomes_seen = HashSet::new();
    for seed in 1..=4 {
        let mut random = Random(seed);
        let home = tempfile::tempdir().unwrap();
        let mut store = FjallStore::open(home.path()).unwrap();
        let mut naive = Naive::default();
        let mut known: Vec<Event> = Vec::new();
        for round in 0..60 {
            if round % 20 == 19 {
                drop(store);
                store = FjallStore::open(home.path()).unwrap();
            }
            // Some events come late: their deletion may be there already.
            let made: Vec<Event> = (0..8)
                .map(|_| random_event(&mut random, &keys, &known))
                .collect();
            known.extend(made);
            let batch: Vec<Event> = (0..1 + random.below(10))
                .map(|_| random.pick(&known).clone())
                .collect();
            let outcomes = append(&store, &batch.iter().collect::<Vec<_>>());
            for (event, outcome) in batch.iter().zip(outcomes) {
                let outcome = match outcome {
                    Outcome::New { .. } => "new",
                    Outcome::Duplicate => "duplicate",
                    Outcome::Superseded => "superseded",
                    Outcome::Deleted => "deleted",
                    Outcome::Unrepresentable => "unrepresentable",
                };
                outcomes_seen.insert(outcome);
                assert_eq!(
                    outcome,
                    naive.append(event),
                    "seed {seed} round {round} {event:?}"
                );
            }
            for _ in 0..10 {
                let filters: Vec<Filter> = (0..1 + random.below(3))
                    .map(|_| random_filter(&mut random, &keys, &known))
                    .collect();
                let now = *random.pick(&[0, 100, 200]);
                let wanted = naive.query(&filters, now);
                assert_eq!(
                    ids_at(&store, &filters, now),
                    wanted,
                    "seed {seed} round {round} {filters:?}"
                );
                let unlimited: Vec<Filter> =
                    filters.into_iter().map(Filter::remove_limit).collect();
                assert_eq!(
                    store.count(&Query::all(&unlimited, now)).unwrap(),
                    naive.query(&unlimited, now).len() as u64
                );
            }
        }
        let mut rows: Vec<EventId> = store
            .read_after(0, 10_000)
            .unwrap()
            .iter()
            .map(|row| row.event.id)
            .collect();
        let mut all: Vec<EventId> = naive.events.iter().map(|event| event.id).collect();
        rows.sort();
        all.sort();
        assert_eq!(rows, all);
        assert_index_is_exact(&store);
    }
    assert_eq!(outcomes_seen.len(), 4, "{outcomes_seen:?}");
}

/// Every index key belongs to a row and every row has all its keys.
fn assert_index_is_exact(store: &FjallStore) {
    let mut wanted: Vec<Vec<u8>> = store
        .read_after(0, 10_000)
        .unwrap()
        .iter()
        .flat_map(|row| {
            let at = u32::try_from(row.event.created_at.as_secs()).unwrap();
            store.keyer.keys(&row.event, at, row.seq)
        })
        .map(|key| key.to_vec())
        .collect();
    wanted.sort();
    let found: Vec<Vec<u8>> = store
        .index
        .iter()
        .map(|guard| guard.key().unwrap().to_vec())
        .collect();
    assert_eq!(found, wanted);
}
