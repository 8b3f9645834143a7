//! The power goes at any moment: what was acknowledged stays, and each change is there as a whole or not at all.

use nostr::Keys;

use super::{super::disk::Disk as _, *};
use crate::{
    nips::nip40,
    store::tests::random::{Naive, Random, random_event, random_filter},
};

/// Something that is done to a store.
enum Deed {
    Append(Vec<Event>),
    Expire(u64),
    Purge(Vec<EventId>),
    Vanish(nostr::PublicKey, u64),
    Upkeep,
    Compact,
    Erase,
}

fn deed(random: &mut Random, keys: &[Keys], known: &mut Vec<Event>) -> Deed {
    match random.below(24) {
        0 => Deed::Expire(*random.pick(&[60, 160])),
        1 if !known.is_empty() => {
            let count = random.below(4);
            Deed::Purge((0..count).map(|_| random.pick(known).id).collect())
        }
        2 if random.below(3) == 0 => {
            let until = 100 + random.below(6) as u64;
            Deed::Vanish(random.pick(keys).public_key(), until)
        }
        2..=6 => Deed::Upkeep,
        7 => Deed::Compact,
        8 => Deed::Erase,
        _ => {
            for _ in 0..4 {
                let event = random_event(random, keys, known);
                known.push(event);
            }
            let count = 1 + random.below(8);
            Deed::Append((0..count).map(|_| random.pick(known).clone()).collect())
        }
    }
}

impl Deed {
    fn on_naive(&self, naive: &mut Naive) {
        match self {
            Self::Append(events) => events.iter().for_each(|event| {
                naive.append(event);
            }),
            Self::Expire(now) => {
                naive.events.retain(|event| !nip40::is_expired(event, *now));
            }
            Self::Purge(ids) => {
                let there: Vec<EventId> = (naive.events.iter().map(|event| event.id))
                    .filter(|id| ids.contains(id))
                    .collect();
                naive.events.retain(|event| !there.contains(&event.id));
                naive.purged.extend(there);
            }
            Self::Vanish(author, until) => naive.vanish(author, *until),
            Self::Upkeep | Self::Compact | Self::Erase => {}
        }
    }

    fn on_log(&self, log: &Log) -> Result<(), Error> {
        match self {
            Self::Append(events) => log.append(&records(events)).map(drop),
            Self::Expire(now) => log.expire(*now, 1000).map(drop),
            Self::Purge(ids) => log.purge(ids, b"note").map(drop),
            Self::Vanish(author, until) => log.vanish(author, *until).map(drop),
            Self::Upkeep => log.upkeep(),
            Self::Compact => log.compact(),
            Self::Erase => log.erase().map(drop),
        }
    }
}

fn ids_of(naive: &Naive) -> BTreeSet<EventId> {
    naive.events.iter().map(|event| event.id).collect()
}

/// Opens what a crash left, which may crash again.
fn come_back(mut disk: Arc<Sim>, random: &mut Random) -> (Arc<Sim>, Log) {
    loop {
        disk = Arc::new(disk.crash(random));
        if random.below(3) == 0 {
            disk.last_for(Some(random.below(12)));
        }
        match open(&disk) {
            Ok(log) => {
                disk.last_for(None);
                return (disk, log);
            }
            Err(error) => assert!(disk.is_off(), "{error:?}"),
        }
    }
}

#[test]
fn nothing_acknowledged_is_missing_after_the_power_went() {
    // `tests/soak` and a person give more.
    let rounds = std::env::var("TREEFORT_CRASHES").ok();
    let rounds: u64 = rounds.map_or(400, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("TREEFORT_SEED").ok();
    let seed: u64 = seed.map_or(1, |seed| seed.parse().unwrap());
    // The same ones every time, so that a failure can be repeated from its seed.
    let keys: Vec<Keys> = (1..=4)
        .map(|n| Keys::new(nostr::SecretKey::from_slice(&[n; 32]).unwrap()))
        .collect();
    let mut done = 0;
    let mut in_flight = [0, 0];
    let mut random = Random(seed);
    while done < rounds {
        let mut disk = Arc::new(Sim::default());
        let mut log = open(&disk).unwrap();
        let mut naive = Naive::default();
        let mut known = Vec::new();
        let mut last = 0;
        for _ in 0..20 {
            done += 1;
            disk.last_for(Some(random.below(150)));
            let mut after = naive.clone();
            let cut_off = loop {
                let deed = deed(&mut random, &keys, &mut known);
                deed.on_naive(&mut after);
                match deed.on_log(&log) {
                    Ok(()) => {
                        deed.on_naive(&mut naive);
                        last = log.state().last;
                    }
                    Err(error) => {
                        assert!(disk.is_off(), "{error:?}");
                        break deed;
                    }
                }
            };
            drop(log);
            (disk, log) = come_back(disk, &mut random);
            let found = all_ids(&log);
            if matches!(cut_off, Deed::Vanish(..)) && ids_of(&after) == ids_of(&naive) {
                // There was nothing to remove, so that nobody sees whether it was done.
                assert!(found == ids_of(&naive), "crash {done}");
                cut_off.on_log(&log).unwrap();
            }
            // What was under way when the power went may be there, all of it.
            let is_after = found == ids_of(&after);
            assert!(is_after || found == ids_of(&naive), "crash {done}");
            in_flight[usize::from(is_after)] += 1;
            if is_after {
                naive = after;
            }
            assert!(log.state().last >= last, "crash {done}");
            assert_whole(&log);
            for _ in 0..3 {
                if known.is_empty() {
                    break;
                }
                let filter = [random_filter(&mut random, &keys, &known)];
                assert_eq!(ids(&log, &filter, 0), naive.query(&filter, 0));
            }
        }
    }
    assert!(in_flight.iter().all(|count| *count > 0), "{in_flight:?}");
}

#[test]
fn a_damaged_index_is_made_again_from_the_log() {
    let keys: Vec<Keys> = (0..4).map(|_| Keys::generate()).collect();
    for seed in 1..=20 {
        let mut random = Random(seed);
        let disk = Arc::new(Sim::default());
        let log = open(&disk).unwrap();
        let mut naive = Naive::default();
        let mut known = Vec::new();
        for _ in 0..120 {
            let deed = deed(&mut random, &keys, &mut known);
            deed.on_naive(&mut naive);
            deed.on_log(&log).unwrap();
        }
        let last = log.state().last;
        drop(log);
        let end = *random.pick(&[".rows", ".run"]);
        disk.damage(end, &mut random);
        let removed = disk.list().unwrap();
        if let Some(name) = removed.iter().find(|name| name.ends_with(".run")) {
            disk.remove(name).unwrap();
        }
        let log = open(&disk).unwrap();
        assert_eq!(all_ids(&log), ids_of(&naive), "seed {seed}");
        assert_eq!(log.state().last, last);
        assert_whole(&log);
        let events: Vec<Event> = known.clone();
        let outcomes = log.append(&records(&events)).unwrap();
        for (event, outcome) in events.iter().zip(&outcomes) {
            assert_eq!(word(outcome), naive.append(event), "seed {seed}");
        }
    }
}

#[test]
fn a_damaged_log_is_an_error_and_not_a_loss() {
    let keys = [Keys::generate()];
    let mut refused = 0;
    for seed in 1..=40 {
        let mut random = Random(seed);
        let disk = Arc::new(Sim::default());
        let log = open(&disk).unwrap();
        let mut known = Vec::new();
        for _ in 0..10 {
            let event = random_event(&mut random, &keys, &known);
            log.append(&records(std::slice::from_ref(&event))).unwrap();
            known.push(event);
        }
        let all = all_ids(&log);
        drop(log);
        disk.damage(".log", &mut random);
        match open(&disk) {
            Err(Error::Damaged(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
            // The byte is behind the end, or in the last frame, which may have been torn.
            Ok(log) => assert!(all_ids(&log).len() + 1 >= all.len(), "seed {seed}"),
        }
    }
    assert!(refused > 10, "{refused}");
}
