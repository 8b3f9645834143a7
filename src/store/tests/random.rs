//! A random comparison with a naive store in memory.

use super::*;

/// xorshift64*, so that a failure can be repeated from its seed.
pub(in crate::store) struct Random(pub(in crate::store) u64);

impl Random {
    pub(in crate::store) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub(in crate::store) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The rules again, as plainly as they can be written.
#[derive(Default, Clone)]
pub(in crate::store) struct Naive {
    pub(in crate::store) events: Vec<Event>,
    dead: HashSet<(String, String)>,
    dead_addresses: Vec<(String, u64)>,
    pub(in crate::store) purged: HashSet<EventId>,
    vanished: Vec<(nostr::PublicKey, u64)>,
}

fn address(event: &Event) -> Option<String> {
    nip01::identifier(event).map(|d| format!("{}:{}:{d}", event.kind.as_u16(), event.pubkey))
}

fn eternal(event: &Event) -> bool {
    matches!(event.kind.as_u16(), 5 | 4781..=4787)
}

impl Naive {
    pub(in crate::store) fn append(&mut self, event: &Event) -> &'static str {
        if self.events.iter().any(|known| known.id == event.id) {
            return "duplicate";
        }
        if self.purged.contains(&event.id) {
            return "deleted";
        }
        let at = event.created_at.as_secs();
        let mut vanished = self.vanished.iter();
        if vanished.any(|(author, until)| *author == event.pubkey && at <= *until) {
            return "deleted";
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

    pub(in crate::store) fn vanish(&mut self, author: &nostr::PublicKey, until: u64) {
        let goes = |event: &Event| event.pubkey == *author && event.created_at.as_secs() <= until;
        self.events.retain(|event| !goes(event));
        self.vanished.push((*author, until));
    }

    pub(in crate::store) fn query(&self, filters: &[Filter], now: u64) -> Vec<EventId> {
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

pub(in crate::store) fn random_event(random: &mut Random, keys: &[Keys], known: &[Event]) -> Event {
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

pub(in crate::store) fn random_filter(
    random: &mut Random,
    keys: &[Keys],
    known: &[Event],
) -> Filter {
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
    // `tests/soak` gives other seeds.
    let given = std::env::var("TREEFORT_SEED").ok();
    let base: u64 = given.map_or(0, |seed| seed.parse().unwrap());
    for seed in base + 1..=base + 4 {
        let mut random = Random(seed);
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::open(home.path()).unwrap();
        let mut naive = Naive::default();
        let mut known: Vec<Event> = Vec::new();
        for round in 0..60 {
            if round % 20 == 19 {
                drop(store);
                store = Store::open(home.path()).unwrap();
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
            if random.below(4) == 0 {
                let ids: Vec<EventId> = (0..random.below(4))
                    .map(|_| random.pick(&known).id)
                    .collect();
                let there: HashSet<EventId> = (naive.events.iter())
                    .map(|event| event.id)
                    .filter(|id| ids.contains(id))
                    .collect();
                assert_eq!(store.purge(&ids, b"note").unwrap(), there.len());
                naive.events.retain(|event| !there.contains(&event.id));
                naive.purged.extend(there);
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

/// Every index key that leads to a row is one of the row's, and every row has all its keys.
pub(super) fn assert_index_is_exact(store: &Store) {
    let mut wanted: Vec<[u8; 16]> = store
        .read_after(0, usize::MAX)
        .unwrap()
        .iter()
        .flat_map(|row| {
            let at = u32::try_from(row.event.created_at.as_secs()).unwrap();
            store.keyer().keys(&row.event, at, row.seq)
        })
        .collect();
    wanted.sort_unstable();
    assert_eq!(store.living_keys(), wanted);
}
