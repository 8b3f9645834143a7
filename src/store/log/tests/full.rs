//! A disk that is full, or that fails, and then is not any more.

use nostr::Keys;

use super::*;
use crate::store::tests::random::{Naive, Random, random_event};

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let keys: Vec<Keys> = (0..4).map(|_| Keys::generate()).collect();
    let mut refused = 0;
    for seed in 1..=20 {
        let mut random = Random(seed);
        let disk = Arc::new(Sim::default());
        let mut log = open(&disk).unwrap();
        let mut naive = Naive::default();
        let mut known: Vec<Event> = Vec::new();
        for round in 0..120 {
            match random.below(10) {
                0 => disk.room_for(Some(random.below(10_000))),
                1 | 2 => disk.room_for(None),
                3 => disk.fail_syncs(true),
                4 | 5 => disk.fail_syncs(false),
                _ => {}
            }
            let event = random_event(&mut random, &keys, &known);
            known.push(event);
            let batch: Vec<Event> = (0..1 + random.below(6))
                .map(|_| random.pick(&known).clone())
                .collect();
            match log.append(&records(&batch)) {
                Ok(outcomes) => {
                    for (event, outcome) in batch.iter().zip(&outcomes) {
                        assert_eq!(word(outcome), naive.append(event), "seed {seed}");
                    }
                }
                Err(_) => refused += 1,
            }
            // What fails is tried again.
            let _ = log.upkeep();
            let wanted: BTreeSet<EventId> = naive.events.iter().map(|event| event.id).collect();
            assert_eq!(all_ids(&log), wanted, "seed {seed} round {round}");
            if random.below(20) == 0 {
                disk.room_for(None);
                disk.fail_syncs(false);
                // What was refused last would be there after all, when the program ended before it wrote again.
                log.purged().unwrap();
                drop(log);
                log = open(&disk).unwrap();
                assert_whole(&log);
            }
        }
        disk.room_for(None);
        disk.fail_syncs(false);
        log.append(&records(&known)).unwrap();
        log.upkeep().unwrap();
        assert_whole(&log);
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn what_was_refused_and_then_purged_is_in_no_file() {
    let keys = Keys::generate();
    let canary = Keys::generate().public_key().to_hex();
    let event = crate::nips::Draft::new(1).content(&canary).sign(&keys, 1);
    let event = [event.unwrap()];
    let disk = Arc::new(Sim::default());
    let log = open(&disk).unwrap();
    disk.fail_syncs(true);
    assert!(log.append(&records(&event)).is_err());
    disk.fail_syncs(false);
    log.append(&records(&event)).unwrap();
    assert!(disk.holds(canary.as_bytes()));
    assert_eq!(log.purge(&[event[0].id], b"why").unwrap(), 1);
    assert!(log.erase().unwrap());
    assert!(!disk.holds(canary.as_bytes()));
    assert_eq!(log.append(&records(&event)).unwrap(), [Outcome::Deleted]);
    let log = open(&disk).unwrap();
    assert_eq!(log.writer().note.as_deref(), Some(&b"why"[..]));
    assert_eq!(log.append(&records(&event)).unwrap(), [Outcome::Deleted]);
}
