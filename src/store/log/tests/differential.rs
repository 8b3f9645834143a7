//! The same random operations on this store and on another one.

use nostr::{Keys, Kind};

use super::*;
use crate::{
    nips::Draft,
    store::{
        EventStore, FjallStore,
        tests::random::{Random, random_filter},
    },
};

/// An event out of a large but repetitive world.
fn event(random: &mut Random, keys: &[Keys], known: &[Event]) -> Event {
    let kind = *random.pick(&[1, 1, 1, 1, 7, 5, 0, 10002, 30000, 30001, 4782]);
    let mut draft = Draft::new(kind).content(random.below(1 << 20).to_string());
    if kind >= 30000 {
        draft = draft.tag(["d", &random.below(40).to_string()]);
    }
    for _ in 0..random.below(4) {
        let name = *random.pick(&["e", "E", "t", "p"]);
        draft = draft.tag([name, &random.below(5).to_string()]);
    }
    if kind == 5 && !known.is_empty() {
        for _ in 0..=random.below(3) {
            let target = &known[known.len() - 1 - random.below(known.len().min(300))];
            draft = draft.tag(["e", &target.id.to_hex()]);
        }
        let d = random.below(40).to_string();
        let key = random.pick(keys).public_key();
        draft = draft.tag(["a", &format!("30000:{key}:{d}")]);
    }
    if random.below(10) == 0 {
        draft = draft.tag(["expiration", &(50 + random.below(100)).to_string()]);
    }
    let at = 100 + random.below(1000) as u64;
    draft.sign(random.pick(keys), at).unwrap()
}

#[test]
fn agrees_with_fjall_on_random_operations() {
    let operations = std::env::var("TREEFORT_OPERATIONS").ok();
    let operations: usize = operations.map_or(20_000, |count| count.parse().unwrap());
    let seed = std::env::var("TREEFORT_SEED").ok();
    let mut random = Random(seed.map_or(7, |seed| seed.parse().unwrap()));
    let keys: Vec<Keys> = (0..12).map(|_| Keys::generate()).collect();
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = Options {
        segment: 256 << 10,
        step: 64 << 10,
        table: 5000,
        recent: 64 << 10,
    };
    let mut log = LogStore::with(ours.path(), options).unwrap();
    let fjall = FjallStore::open(theirs.path()).unwrap();
    let mut known: Vec<Event> = Vec::new();
    let mut done = 0;
    while done < operations {
        match random.below(200) {
            0 => {
                drop(log);
                log = LogStore::with(ours.path(), options).unwrap();
            }
            1 => {
                let now = 50 + random.below(100) as u64;
                assert_eq!(
                    log.expire(now, 500).unwrap(),
                    fjall.expire(now, 500).unwrap()
                );
            }
            2 if !known.is_empty() => {
                let ids: Vec<EventId> = (0..3).map(|_| random.pick(&known).id).collect();
                assert_eq!(
                    log.purge(&ids, b"x").unwrap(),
                    fjall.purge(&ids, b"x").unwrap()
                );
                if random.below(4) == 0 {
                    log.log.compact().unwrap();
                }
            }
            _ => {
                let mut batch = Vec::new();
                for _ in 0..1 + random.below(60) {
                    if known.is_empty() || random.below(4) > 0 {
                        known.push(event(&mut random, &keys, &known));
                    }
                    let from = known.len().min(400);
                    let old = known[known.len() - 1 - random.below(from)].clone();
                    batch.push(old);
                }
                done += batch.len();
                let batch = records(&batch);
                assert_eq!(log.append(&batch).unwrap(), fjall.append(&batch).unwrap());
            }
        }
        if known.is_empty() {
            continue;
        }
        done += 1;
        let mut filter = random_filter(&mut random, &keys, &known);
        if random.below(2) == 0 {
            filter = filter.kind(Kind::from(*random.pick(&[1, 5, 7, 30000])));
        }
        let filters = [filter.limit(random.below(300))];
        let query = Query::all(&filters, *random.pick(&[0, 80, 120]));
        let rows = |store: &dyn EventStore| -> Vec<(u64, EventId, Option<bytes::Bytes>)> {
            let hits = store.query(&query).unwrap();
            hits.into_iter()
                .map(|hit| (hit.seq, hit.id, hit.json))
                .collect()
        };
        assert_eq!(rows(&log), rows(&fjall), "{filters:?}");
        if random.below(20) == 0 {
            let filters = [filters[0].clone().remove_limit()];
            let query = Query::all(&filters, 0);
            assert_eq!(log.count(&query).unwrap(), fjall.count(&query).unwrap());
            let after = random.below(log.last_seq() as usize + 1) as u64;
            let seqs = |store: &dyn EventStore| -> Vec<u64> {
                let rows = store.read_after(after, 100).unwrap();
                rows.iter().map(|row| row.seq).collect()
            };
            assert_eq!(seqs(&log), seqs(&fjall));
            assert_eq!(log.last_seq(), fjall.last_seq());
        }
    }
    assert_whole(&log.log);
    let all = |store: &dyn EventStore| -> Vec<(u64, EventId)> {
        let rows = store.read_after(0, usize::MAX).unwrap();
        rows.iter().map(|row| (row.seq, row.event.id)).collect()
    };
    assert_eq!(all(&log), all(&fjall));
}

#[test]
fn what_fjall_holds_is_taken_over_with_its_numbers_and_tombstones() {
    let mut random = Random(3);
    let keys: Vec<Keys> = (0..5).map(|_| Keys::generate()).collect();
    let home = tempfile::tempdir().unwrap();
    let (path, twin) = (home.path().join("events"), home.path().join("twin"));
    let (fjall, naive) = (
        FjallStore::open(&path).unwrap(),
        FjallStore::open(&twin).unwrap(),
    );
    let mut known: Vec<Event> = Vec::new();
    for _ in 0..60 {
        for _ in 0..30 {
            known.push(event(&mut random, &keys, &known));
        }
        let batch = records(&known[known.len() - 30..]);
        let purged = [random.pick(&known).id];
        for store in [&fjall, &naive] {
            store.append(&batch).unwrap();
            store.purge(&purged, b"why").unwrap();
            store.expire(100, 10).unwrap();
        }
    }
    drop(fjall);
    // A crash left a log that is not complete.
    drop(LogStore::begin(&home.path().join("events.new"), SMALL).unwrap());
    let log = LogStore::with(&path, SMALL).unwrap();
    let all = |store: &dyn EventStore| -> Vec<(u64, EventId)> {
        let rows = store.read_after(0, usize::MAX).unwrap();
        rows.iter().map(|row| (row.seq, row.event.id)).collect()
    };
    assert_eq!(all(&log), all(&naive));
    assert_eq!(log.last_seq(), naive.last_seq());
    assert_eq!(log.purging().unwrap().as_deref(), Some(&b"why"[..]));
    assert_whole(&log.log);
    drop(log);
    // The crash came between the renames.
    std::fs::rename(&path, home.path().join("events.new")).unwrap();
    std::fs::create_dir(home.path().join("events.old")).unwrap();
    let log = LogStore::with(&path, SMALL).unwrap();
    assert_eq!(all(&log), all(&naive));
    assert!(!home.path().join("events.old").exists());
    let batch = records(&known);
    assert_eq!(log.append(&batch).unwrap(), naive.append(&batch).unwrap());
}
